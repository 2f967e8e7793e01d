package redis_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"dixie/internal/chat"
	"dixie/redis"
)

func acquire(t *testing.T, lock chat.TurnLock, sessionID string) func() {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	release, err := lock.Acquire(ctx, sessionID)
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return release
}

// busy says whether session s cannot be had for a while.
func busy(t *testing.T, lock chat.TurnLock, d time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	release, err := lock.Acquire(ctx, "s")
	if err == nil {
		release()
		return false
	}
	if !errors.Is(err, chat.ErrBusy) {
		t.Errorf("Acquire: %v, want ErrBusy", err)
	}
	return true
}

func TestTurnsAreRenewed(t *testing.T) {
	t.Parallel()
	one, other := replicas(t)
	const expiry = 2 * time.Second // Renewals that come late are renewals.
	holder := redis.NewQuickTurnLock(one, nil, expiry, 100*time.Millisecond)
	release := acquire(t, holder, "s")
	if !busy(t, redis.NewTurnLock(other, nil), expiry+time.Second) {
		t.Error("the key expired while it was held")
	}
	release()
	if n := other.Exists(t.Context(), "chat:turn:s").Val(); n != 0 {
		t.Error("the key is there after the release")
	}
	release() // Once more does no harm.
	if busy(t, redis.NewTurnLock(other, nil), patience) {
		t.Error("the session is not free after the release")
	}
}

// TestADeadHolderFreesTheSession: one that no longer renews, as it has no connection any more.
func TestADeadHolderFreesTheSession(t *testing.T) {
	t.Parallel()
	one, other := replicas(t)
	release := acquire(t, redis.NewQuickTurnLock(one, nil, time.Second, 200*time.Millisecond), "s")
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	next := acquire(t, redis.NewTurnLock(other, nil), "s")
	if took := time.Since(begin); took > redis.TurnLockExpiry/2 {
		t.Errorf("it took %v, want about the second of the expiry", took)
	}
	release() // What the dead one does must not free the session of the next.
	if !busy(t, redis.NewTurnLock(other, nil), 100*time.Millisecond) {
		t.Error("the session has two holders")
	}
	next()
}

// TestALostTurnIsNotGivenBack: a holder that was cut off for too long leaves the session to the next one.
func TestALostTurnIsNotGivenBack(t *testing.T) {
	t.Parallel()
	one, other := replicas(t)
	var log lockedLog
	release := acquire(t, redis.NewQuickTurnLock(one, log.logger(), time.Second, 50*time.Millisecond), "s")
	if err := other.Set(t.Context(), "chat:turn:s", "the next one", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is logged", func() bool { return log.count("turn_lock_lost") > 0 })
	release()
	if got := other.Get(t.Context(), "chat:turn:s").Val(); got != "the next one" {
		t.Errorf("the key holds %q", got)
	}
	if log.count("turn_lock_lost") != 1 {
		t.Error("the loss is logged more than once")
	}
}

// TestTurnLockWithoutRedis: the process's own line holds while Redis is away, and the key when it is back.
func TestTurnLockWithoutRedis(t *testing.T) {
	t.Parallel()
	own := startServer(t)
	var log lockedLog
	lock := redis.NewQuickTurnLock(open(t, own.URL(), nil), log.logger(), 5*time.Second, 200*time.Millisecond)
	other := redis.NewTurnLock(open(t, own.URL(), nil), nil)
	acquire(t, lock, "s")()

	own.Kill()
	release := acquire(t, lock, "s")
	if !busy(t, lock, 100*time.Millisecond) {
		t.Error("a session has two holders within the process")
	}
	for range 10 {
		begin := time.Now()
		acquire(t, lock, "another")()
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("a turn waited %v for a Redis that is away", took)
		}
	}
	if n := log.count("turn_lock_not_shared"); n != 1 {
		t.Errorf("%d warnings of one outage", n)
	}

	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lock is shared again", func() bool { return log.count("turn_lock_shared") == 1 })
	// The turn that began without Redis holds its key now.
	eventually(t, "the turn is known to Redis", func() bool { return busy(t, other, 300*time.Millisecond) })
	release()
	if busy(t, other, patience) {
		t.Error("the session is not free after the release")
	}
}

// TestABusyPoolIsNoOutage: who finds every connection in use does not go without the key.
func TestABusyPoolIsNoOutage(t *testing.T) {
	t.Parallel()
	url := server.Database(t)
	one, other := open(t, url+"?pool_size=1", nil), open(t, url, nil)
	release := acquire(t, redis.NewTurnLock(other, nil), "s")
	var using sync.WaitGroup
	using.Go(func() { one.BLPop(t.Context(), 3*time.Second, "nothing") })
	eventually(t, "the connection is in use", func() bool { return one.PoolStats().TotalConns == 1 && one.PoolStats().IdleConns == 0 })
	if !busy(t, redis.NewTurnLock(one, nil), 2*time.Second) {
		t.Error("the session has two holders")
	}
	using.Wait()
	release()
}

func TestReleaseDoesNotWaitForAHangingServer(t *testing.T) {
	t.Parallel()
	own := startServer(t)
	lock := redis.NewTurnLock(open(t, own.URL(), nil), nil)
	release := acquire(t, lock, "s")
	own.Pause()
	begin := time.Now()
	release()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it waited %v", took)
	}
	// A turn waits for Redis for a second at most; a busy machine may hold one of them up.
	quickest := time.Hour
	for range 3 {
		begin = time.Now()
		acquire(t, lock, "s")()
		quickest = min(quickest, time.Since(begin))
	}
	if quickest > 1500*time.Millisecond {
		t.Errorf("the next turns waited %v and more", quickest)
	}
}

// TestAKeyIsGivenBackLater: a turn that ends while Redis hangs does not hold up the next one until its key
// expires.
func TestAKeyIsGivenBackLater(t *testing.T) {
	t.Parallel()
	own := startServer(t)
	client := open(t, own.URL(), nil)
	lock := redis.NewTurnLock(client, nil)
	release := acquire(t, lock, "s")
	own.Pause()
	failUntilOpen(t, client, 1200*time.Millisecond)
	release()
	own.Resume()
	back(t, client)
	begin := time.Now()
	acquire(t, lock, "s")()
	if took := time.Since(begin); took > redis.TurnLockExpiry/2 {
		t.Errorf("the next turn waited %v", took)
	}
}
