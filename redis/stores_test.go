package redis_test

import (
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"dixie/governance"
	"dixie/governance/governancetest"
	"dixie/internal/auth"
	"dixie/internal/auth/authtest"
	"dixie/internal/chat"
	"dixie/internal/chat/chattest"
	"dixie/internal/ratelimit/ratelimittest"
	"dixie/redis"
)

func TestNonces(t *testing.T) {
	t.Parallel()
	authtest.Nonces(t, func(t *testing.T, test func(*testing.T, authtest.Subject[auth.NonceStore])) {
		t.Helper()
		one, other := replicas(t)
		test(t, authtest.Subject[auth.NonceStore]{One: redis.NewNonces(one), Other: redis.NewNonces(other), Advance: advance})
	})
}

func TestTickets(t *testing.T) {
	t.Parallel()
	authtest.Tickets(t, func(t *testing.T, test func(*testing.T, authtest.Subject[auth.TicketStore])) {
		t.Helper()
		one, other := replicas(t)
		test(t, authtest.Subject[auth.TicketStore]{One: redis.NewTickets(one), Other: redis.NewTickets(other), Advance: advance})
	})
}

func TestRateLimiter(t *testing.T) {
	t.Parallel()
	ratelimittest.Run(t, func(t *testing.T, test func(*testing.T, ratelimittest.Subject)) {
		t.Helper()
		one, other := replicas(t)
		withinOneMinute(t, one)
		// A minute is too long to wait for; see TestRateLimiterMinutes.
		test(t, ratelimittest.Subject{One: redis.NewRateLimiter(one), Other: redis.NewRateLimiter(other)})
	})
}

// withinOneMinute waits for the next minute of the server's clock when this one is about to end.
func withinOneMinute(tb testing.TB, client *goredis.Client) {
	tb.Helper()
	now, err := client.Time(tb.Context()).Result()
	if err != nil {
		tb.Fatal(err)
	}
	if left := now.Truncate(time.Minute).Add(time.Minute).Sub(now); left < 10*time.Second {
		advance(left)
	}
}

func TestTierCache(t *testing.T) {
	t.Parallel()
	governancetest.TierCache(t, func(t *testing.T, test func(*testing.T, governancetest.Subject)) {
		t.Helper()
		test(t, governancetest.Subject{TierCache: redis.NewTierCache(server.Client(t)), Advance: advance})
	})
}

func TestTurnLock(t *testing.T) {
	t.Parallel()
	chattest.Locks(t, func(t *testing.T) (one, other chat.TurnLock) {
		t.Helper()
		first, second := replicas(t)
		return redis.NewTurnLock(first, nil), redis.NewTurnLock(second, nil)
	})
}

// TestKeys holds the names of the keys to what operators know, and every key to an expiry.
func TestKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := server.Client(t)
	withinOneMinute(t, client)
	if err := redis.NewNonces(client).Put(ctx, "nonce", auth.NonceTTL); err != nil {
		t.Fatal(err)
	}
	if err := redis.NewTickets(client).Put(ctx, "hash", "wallet", auth.TicketTTL, 5); err != nil {
		t.Fatal(err)
	}
	if _, err := redis.NewRateLimiter(client).Allow(ctx, "identity", 10); err != nil {
		t.Fatal(err)
	}
	tier := governance.Resolution{Tier: governance.Builder, Source: governance.FromStake}
	if err := redis.NewTierCache(client).Put(ctx, "wallet", tier, 5*time.Minute); err != nil {
		t.Fatal(err)
	}
	release, err := redis.NewTurnLock(client, nil).Acquire(ctx, "session")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	now := client.Time(ctx).Val()
	everyKeyExpires(t, client, 5*time.Minute, "siwe:nonce:nonce", "ws:ticket:hash", "ws:tickets:wallet",
		rateKey("identity", now), "conviction:wallet", "chat:turn:session")
	if got := client.Get(ctx, "siwe:nonce:nonce").Val(); got != "1" {
		t.Errorf("a nonce's value is %q, want 1", got)
	}
	if got := client.Get(ctx, "ws:ticket:hash").Val(); got != "wallet" {
		t.Errorf("a ticket's value is %q, want its wallet", got)
	}
	for key, most := range map[string]time.Duration{
		"ws:ticket:hash": auth.TicketTTL, "ws:tickets:wallet": auth.TicketTTL,
		rateKey("identity", now): time.Minute, "chat:turn:session": redis.TurnLockExpiry,
	} {
		if ttl := client.PTTL(ctx, key).Val(); ttl > most || ttl < most/2 {
			t.Errorf("%s expires in %v, want %v", key, ttl, most)
		}
	}
}
