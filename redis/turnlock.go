package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"dixie/internal/chat"
	"dixie/spansanitizer"
)

const (
	// TurnLockExpiry is when a session becomes free whose holder died.
	TurnLockExpiry = 20 * time.Second
	// turnLockRenewal leaves room for three renewals that fail.
	turnLockRenewal = TurnLockExpiry / 4

	// A replica that waits for another one asks again after a time between these.
	shortestPoll = 50 * time.Millisecond
	longestPoll  = 250 * time.Millisecond

	renewTimeout = time.Second
	// releaseTimeout bounds giving back, beyond the renewal that may be under way.
	releaseTimeout = 500 * time.Millisecond
	// releaseWait is how long a release waits for both; the rest happens without it.
	releaseWait = time.Second
	// releaseAgain is how long after a key was not given back it is tried again.
	releaseAgain = 250 * time.Millisecond
)

// TurnLock keeps the turns of a session in line across replicas. Within the process they wait in
// line, first come, first served; whoever is first there holds the key chat:turn:{sessionID}, or asks for
// it every 50 to 250 ms while another replica holds it. Between replicas there is no order. It is safe for
// concurrent use.
//
// The key expires after [TurnLockExpiry] and is renewed while it is held, so that the sessions of a replica
// that died become free. A holder that was cut off from Redis for longer than that may find that another
// replica has the session too; the log tells.
//
// While Redis is unavailable the process's own line holds alone, with one warning for each outage. A turn
// that began like this takes its key once Redis is back.
type TurnLock struct {
	client          goredis.UniversalClient
	logger          *slog.Logger
	line            *chat.MemoryLocks
	hold, drop      *goredis.Script
	expiry, renewal time.Duration
	away            atomic.Bool
}

var _ chat.TurnLock = (*TurnLock)(nil)

// holdTurn takes the key or renews it. It knows the holder by its token, so that a retry whose first
// attempt did arrive is not refused.
const holdTurn = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`

const dropTurn = `
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0`

// NewTurnLock locks through client, which the caller closes when every turn has ended. A nil logger
// discards.
func NewTurnLock(client goredis.UniversalClient, logger *slog.Logger) *TurnLock {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &TurnLock{
		client: client, logger: logger, line: chat.NewMemoryLocks(),
		hold: goredis.NewScript(holdTurn), drop: goredis.NewScript(dropTurn),
		expiry: TurnLockExpiry, renewal: turnLockRenewal,
	}
}

// Acquire implements dixie.TurnLock. With 16 prompts of this process in line it returns
// dixie.ErrBusy at once. The release function waits for Redis for a second at most.
func (l *TurnLock) Acquire(ctx context.Context, sessionID string) (release func(), err error) {
	leave, err := l.line.Acquire(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	turn := &heldTurn{lock: l, key: "chat:turn:" + sessionID, token: rand.Text(), leave: leave, stop: make(chan struct{}), done: make(chan struct{})}
	if err := turn.await(ctx); err != nil {
		_ = turn.giveBack(ctx) // Else it expires.
		leave()
		return nil, fmt.Errorf("%w: %w", chat.ErrBusy, err)
	}
	go turn.keep(context.WithoutCancel(ctx))
	return sync.OnceFunc(turn.release), nil
}

// heldTurn is one holder of a session.
type heldTurn struct {
	lock       *TurnLock
	key, token string
	leave      func()
	stop, done chan struct{}
}

// await takes the key as soon as nobody else has it, or goes without it when Redis is unavailable. Its
// error is the cause of ctx.
func (h *heldTurn) await(ctx context.Context) error {
	for delay := shortestPoll; ; delay = min(2*delay, longestPoll-shortestPoll) {
		held, err := h.take(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// When only the pool's connections are all in use, Redis is there, and who asks again gets one.
		if !errors.Is(err, goredis.ErrPoolTimeout) {
			h.lock.note(ctx, err)
			if held || err != nil {
				return nil //nolint:nilerr // Without Redis the process's line is the lock.
			}
		}
		again := time.NewTimer(shortestPoll + mathrand.N(delay)) //nolint:gosec // Only spreads the replicas.
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return context.Cause(ctx)
		}
	}
}

// take takes the key, or renews it.
func (h *heldTurn) take(ctx context.Context) (bool, error) {
	l := h.lock
	held, err := l.hold.Run(ctx, l.client, []string{h.key}, h.token, l.expiry.Milliseconds()).Bool()
	if err != nil {
		return false, fmt.Errorf("redis: take a turn: %w", err)
	}
	return held, nil
}

// note logs when Redis goes away or comes back, once.
func (l *TurnLock) note(ctx context.Context, err error) {
	switch {
	case err == nil && l.away.CompareAndSwap(true, false):
		l.logger.LogAttrs(ctx, slog.LevelInfo, "turn_lock_shared")
	case err != nil && l.away.CompareAndSwap(false, true):
		l.logger.LogAttrs(ctx, slog.LevelWarn, "turn_lock_not_shared", slog.String("error", spansanitizer.TextOf(err)))
	}
}

// keep renews the key until release, and gives it back. One goroutine does both, so that no renewal comes
// after the end. When Redis does not take it back, the next one in the process goes on and it is tried
// again, so that the session is not held up by a key without a holder once Redis is back.
func (h *heldTurn) keep(ctx context.Context) {
	h.renewUntilReleased(ctx)
	expires := time.Now().Add(h.lock.expiry)
	err := h.giveBack(ctx)
	h.leave()
	close(h.done)
	again := time.NewTicker(releaseAgain)
	defer again.Stop()
	for err != nil && !errors.Is(err, goredis.ErrClosed) && time.Now().Before(expires) {
		<-again.C
		err = h.giveBack(ctx)
	}
}

func (h *heldTurn) renewUntilReleased(ctx context.Context) {
	tick := time.NewTicker(h.lock.renewal)
	defer tick.Stop()
	lost := false
	for {
		select {
		case <-tick.C:
			lost = h.renew(ctx, lost)
		case <-h.stop:
			return
		}
	}
}

// renew says whether another replica has the session.
func (h *heldTurn) renew(ctx context.Context, lost bool) bool {
	limited, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	held, err := h.take(limited)
	h.lock.note(ctx, err)
	if err != nil {
		return lost
	}
	if !held && !lost {
		h.lock.logger.LogAttrs(ctx, slog.LevelWarn, "turn_lock_lost")
	}
	return !held
}

// giveBack removes the key if it is still this holder's. Where that fails, the key expires.
func (h *heldTurn) giveBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if err := h.lock.drop.Run(ctx, h.lock.client, []string{h.key}, h.token).Err(); err != nil {
		return fmt.Errorf("redis: give a turn back: %w", err)
	}
	return nil
}

func (h *heldTurn) release() {
	close(h.stop)
	wait := time.NewTimer(releaseWait)
	defer wait.Stop()
	select {
	case <-h.done:
	case <-wait.C:
	}
}
