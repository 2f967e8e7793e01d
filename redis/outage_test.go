package redis_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"dixie/governance"
	"dixie/internal/auth"
	"dixie/internal/redistest"
	"dixie/redis"
)

func startServer(t *testing.T) *redistest.Server {
	t.Helper()
	return redistest.Start(t)
}

// calls are one of each store, to which an outage is an error.
func calls(client *goredis.Client) map[string]func(context.Context) error {
	nonces, tickets := redis.NewNonces(client), redis.NewTickets(client)
	limiter, tiers := redis.NewRateLimiter(client), redis.NewTierCache(client)
	tier := governance.Resolution{Tier: governance.Builder, Source: governance.FromStake}
	return map[string]func(context.Context) error{
		"Nonces.Put":  func(ctx context.Context) error { return nonces.Put(ctx, "n", auth.NonceTTL) },
		"Nonces.Take": func(ctx context.Context) error { _, err := nonces.Take(ctx, "n"); return err },
		"Tickets.Put": func(ctx context.Context) error { return tickets.Put(ctx, "h", "w", auth.TicketTTL, 5) },
		"Tickets.Take": func(ctx context.Context) error {
			_, ok, err := tickets.Take(ctx, "h")
			if err != nil && ok {
				return nil // Which fails the test: nothing is certain here.
			}
			return err
		},
		"RateLimiter.Allow": func(ctx context.Context) error { _, err := limiter.Allow(ctx, "i", 1000); return err },
		"TierCache.Get":     func(ctx context.Context) error { _, _, err := tiers.Get(ctx, "w"); return err },
		"TierCache.Put":     func(ctx context.Context) error { return tiers.Put(ctx, "w", tier, time.Minute) },
	}
}

func allWork(t *testing.T, calls map[string]func(context.Context) error) {
	t.Helper()
	for name, call := range calls {
		if err := call(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// failUntilOpen makes calls until they fail at once. The quickest of the others must have ended within limit: each is
// bound by the same time limits, and a busy machine may keep some of them waiting.
func failUntilOpen(t *testing.T, client *goredis.Client, limit time.Duration) {
	t.Helper()
	var took []time.Duration
	for range 10 {
		begin := time.Now()
		err := client.Ping(t.Context()).Err()
		switch {
		case err == nil:
			t.Fatal("a call succeeds without a server")
		case errors.Is(err, redis.ErrUnavailable):
			if len(took) > 0 && slices.Min(took) > limit {
				t.Errorf("calls ended after %v, want %v at most", took, limit)
			}
			return
		}
		took = append(took, time.Since(begin))
	}
	t.Fatal("calls do not fail at once")
}

// failAtOnce allows for the probes that some of the calls may be, one a second, and for a machine that holds some of the
// others up.
func failAtOnce(t *testing.T, calls map[string]func(context.Context) error) {
	t.Helper()
	const atOnce = 100 * time.Millisecond
	tried := 0
	begin, quickest := time.Now(), time.Hour
	for name, call := range calls {
		called := time.Now()
		err := call(t.Context())
		if err == nil {
			t.Errorf("%s succeeds without a server", name)
		}
		if !errors.Is(err, redis.ErrUnavailable) {
			tried++
			continue
		}
		quickest = min(quickest, time.Since(called))
	}
	if quickest > atOnce {
		t.Errorf("no call was refused within %v", atOnce)
	}
	if probes := 1 + int(time.Since(begin)/time.Second); tried > probes {
		t.Errorf("%d calls of %d were not refused at once, want %d at most", tried, len(calls), probes)
	}
}

// back waits until calls are answered again. One a second is let through, so that it takes no multiple of that but on a
// busy machine.
func back(t *testing.T, client *goredis.Client) {
	t.Helper()
	const limit = 10 * time.Second
	begin := time.Now()
	eventually(t, "recovery", func() bool { return client.Ping(t.Context()).Err() == nil })
	if took := time.Since(begin); took > limit {
		t.Errorf("it took %v until calls were answered again, want %v at most", took, limit)
	}
}

func TestServerIsKilledAndRestarted(t *testing.T) {
	t.Parallel()
	own := startServer(t)
	var log lockedLog
	client := open(t, own.URL(), log.logger())
	stores := calls(client)
	allWork(t, stores)
	for round := range 2 {
		own.Kill()
		failUntilOpen(t, client, time.Second)
		failAtOnce(t, stores)
		if err := own.Start(); err != nil {
			t.Fatal(err)
		}
		back(t, client)
		allWork(t, stores)
		if away, back := log.count("redis_unavailable"), log.count("redis_available"); away != round+1 || back != round+1 {
			t.Errorf("the log has %d lines of an outage and %d of its end, want %d each", away, back, round+1)
		}
	}
}

// TestServerIsAwayAtTheStart for longer than a pool of go-redis takes to give up on dialling when asked.
func TestServerIsAwayAtTheStart(t *testing.T) {
	t.Parallel()
	own := startServer(t)
	own.Stop()
	client := open(t, own.URL()+"?pool_size=2", nil)
	failUntilOpen(t, client, time.Second)
	probes := 0
	eventually(t, "three probes", func() bool {
		if !errors.Is(client.Ping(t.Context()).Err(), redis.ErrUnavailable) {
			probes++
		}
		return probes == 3
	})
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	back(t, client)
	allWork(t, calls(client))
	if n := libraryLog.count("dial"); n > 0 {
		t.Errorf("go-redis has written %d lines about dialling, which would be on standard error", n)
	}
}

func TestServerHangs(t *testing.T) {
	t.Parallel()
	own := startServer(t)
	client := open(t, own.URL(), nil)
	stores := calls(client)
	allWork(t, stores)
	own.Pause()
	failUntilOpen(t, client, 1200*time.Millisecond)
	failAtOnce(t, stores)
	own.Resume()
	back(t, client)
	allWork(t, stores)
}

// TestRepliesAreNoFailures: errors of Redis, misses and callers who go away leave the circuit closed.
func TestRepliesAreNoFailures(t *testing.T) {
	t.Parallel()
	client := server.Client(t)
	ctx := t.Context()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	client.LPush(ctx, "list", "x")
	for range 10 {
		if err := client.Get(ctx, "none").Err(); !errors.Is(err, goredis.Nil) {
			t.Fatal(err)
		}
		if err := client.Get(ctx, "list").Err(); !goredis.HasErrorPrefix(err, "WRONGTYPE") {
			t.Fatal(err)
		}
		if err := client.Eval(ctx, "return redis.error_reply('ERR of a script')", nil).Err(); err == nil || errors.Is(err, redis.ErrUnavailable) {
			t.Fatal(err)
		}
		if _, err := client.Pipelined(ctx, func(p goredis.Pipeliner) error { p.Get(ctx, "list"); p.Get(ctx, "none"); return nil }); err == nil {
			t.Fatal("a pipeline with an error has none")
		}
	}
	for range 10 { // In a row, so that no success comes between.
		if err := client.Ping(gone).Err(); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if err := client.Ping(ctx).Err(); err != nil {
		t.Errorf("after replies only: %v", err)
	}
}

// TestOwnLimitsAreNoFailures: calls that find no connection because this process has too many, or ends, leave
// the circuit closed.
func TestOwnLimitsAreNoFailures(t *testing.T) {
	t.Parallel()
	for limit, want := range map[string]error{
		"pool_size=1&pool_timeout=1ms":   goredis.ErrPoolTimeout,
		"pool_size=2&max_active_conns=1": goredis.ErrPoolExhausted,
	} {
		client := open(t, server.Database(t)+"?"+limit, nil)
		held := client.Conn()
		if err := held.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := client.Ping(t.Context()).Err(); !errors.Is(err, want) {
				t.Fatalf("%s: %v, want %v", limit, err, want)
			}
		}
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Errorf("%s: when the connection is free: %v", limit, err)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := client.Ping(t.Context()).Err(); !errors.Is(err, goredis.ErrClosed) {
				t.Fatalf("%s: after Close: %v", limit, err)
			}
		}
	}
}

// TestPipelinesAreRefusedAsWell, each of their commands.
func TestPipelinesAreRefusedAsWell(t *testing.T) {
	t.Parallel()
	own := startServer(t)
	own.Stop()
	client := open(t, own.URL(), nil)
	failUntilOpen(t, client, time.Second)
	cmds, err := client.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
		p.Get(t.Context(), "a")
		p.Get(t.Context(), "b")
		return nil
	})
	if !errors.Is(err, redis.ErrUnavailable) || len(cmds) != 2 || !errors.Is(cmds[1].Err(), redis.ErrUnavailable) {
		t.Errorf("%v, %v", cmds, err)
	}
}

func TestLibraryLog(t *testing.T) {
	t.Parallel()
	var log lockedLog
	redis.NewLibraryLog(log.logger()).Printf(t.Context(), "pubsub: %v", fmt.Errorf("an error")) //nolint:perfsprint // As the library calls it.
	redis.NewLibraryLog(nil).Printf(t.Context(), "nowhere")
	if log.count(`"msg":"go_redis","text":"pubsub: an error"`) != 1 {
		t.Errorf("log: %s", log.text.String())
	}
}
