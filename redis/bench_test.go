package redis_test

import (
	"context"
	"strconv"
	"testing"

	"dixie/governance"
	"dixie/internal/auth"
	"dixie/internal/redistest"
	"dixie/redis"
)

// BenchmarkStores is each store's call beside what the server and the way to it cost alone: a PING, and an
// INCR, which writes as well.
func BenchmarkStores(b *testing.B) {
	client := redistest.Connect(b, server.Database(b))
	nonces, tickets := redis.NewNonces(client), redis.NewTickets(client)
	limiter, tiers := redis.NewRateLimiter(client), redis.NewTierCache(client)
	turns := redis.NewTurnLock(client, nil)
	tier := governance.Resolution{Tier: governance.Builder, Source: governance.FromStake}
	if err := tiers.Put(b.Context(), "wallet", tier, governance.DefaultTierTTL); err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct {
		name string
		call func(ctx context.Context, n int) error
	}{
		{"PING", func(ctx context.Context, _ int) error { return client.Ping(ctx).Err() }},
		{"INCR", func(ctx context.Context, _ int) error { return client.Incr(ctx, "bare").Err() }},
		{"Nonces.Put", func(ctx context.Context, n int) error { return nonces.Put(ctx, strconv.Itoa(n), auth.NonceTTL) }},
		{"Nonces.Take", func(ctx context.Context, n int) error { _, err := nonces.Take(ctx, strconv.Itoa(n)); return err }},
		{"Tickets.Put+Take", func(ctx context.Context, n int) error {
			hash := strconv.Itoa(n)
			if err := tickets.Put(ctx, hash, "wallet", auth.TicketTTL, 5); err != nil {
				return err
			}
			_, _, err := tickets.Take(ctx, hash)
			return err
		}},
		{"RateLimiter.Allow", func(ctx context.Context, _ int) error { _, err := limiter.Allow(ctx, "identity", 1<<30); return err }},
		{"RateLimiter.Allow/refused", func(ctx context.Context, _ int) error { _, err := limiter.Allow(ctx, "another", 1); return err }},
		{"TierCache.Get", func(ctx context.Context, _ int) error { _, _, err := tiers.Get(ctx, "wallet"); return err }},
		{"TurnLock.Acquire+release", func(ctx context.Context, _ int) error {
			release, err := turns.Acquire(ctx, "session")
			if err == nil {
				release()
			}
			return err
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				if err := bench.call(b.Context(), n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
