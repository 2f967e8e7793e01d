package redis

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

// ErrUnavailable is what a call on a client of [Open] fails with, at once, while Redis does not answer.
var ErrUnavailable = errors.New("redis: unavailable")

const (
	// failuresToOpen is how many calls in a row may go without an answer.
	failuresToOpen = 3
	// probeAfter is how long every call is refused before the next one is let through.
	probeAfter = time.Second
)

// breaker is a hook of go-redis that refuses calls while the server does not answer. It sees a call with
// its retries as one.
type breaker struct {
	two    *gobreaker.TwoStepCircuitBreaker[struct{}]
	logger *slog.Logger

	// gobreaker tells of changes under its mutex, so they are noted there and logged afterwards.
	changed atomic.Bool
	mu      sync.Mutex
	changes []change // GUARDED_BY(mu)
}

type change struct{ from, to gobreaker.State }

var _ goredis.Hook = (*breaker)(nil)

// errExcluded marks a call that says nothing about the server.
var errExcluded = errors.New("excluded")

func newBreaker(logger *slog.Logger) *breaker {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	b := &breaker{logger: logger}
	b.two = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        "redis",
		MaxRequests: 1,
		Timeout:     probeAfter,
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= failuresToOpen },
		IsExcluded:  func(err error) bool { return errors.Is(err, errExcluded) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			b.mu.Lock()
			b.changes = append(b.changes, change{from, to})
			b.mu.Unlock()
			b.changed.Store(true)
		},
	})
	return b
}

// DialHook implements [goredis.Hook]. Dials happen within calls, which are judged.
func (*breaker) DialHook(next goredis.DialHook) goredis.DialHook { return next }

// ProcessHook implements [goredis.Hook].
func (b *breaker) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		if isHandshake(cmd) {
			return next(ctx, cmd)
		}
		done, err := b.allow(ctx)
		if err != nil {
			cmd.SetErr(err)
			return err
		}
		err = next(ctx, cmd)
		b.settle(ctx, done, err)
		return err
	}
}

// ProcessPipelineHook implements [goredis.Hook].
func (b *breaker) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		if len(cmds) == 0 || isHandshake(cmds[0]) {
			return next(ctx, cmds)
		}
		done, err := b.allow(ctx)
		if err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		err = next(ctx, cmds)
		b.settle(ctx, done, err)
		return err
	}
}

// isHandshake tells the commands that go-redis sends on a new connection, through the same hooks, within
// the call that needs the connection. Judged on its own, the probe's handshake would be refused by the
// probe that it belongs to.
func isHandshake(cmd goredis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "auth", "select", "client", "readonly":
		return true
	default:
		return false
	}
}

func (b *breaker) allow(ctx context.Context) (func(error), error) {
	done, err := b.two.Allow()
	b.tell(ctx)
	if err != nil {
		return nil, ErrUnavailable
	}
	return done, nil
}

func (b *breaker) settle(ctx context.Context, done func(error), err error) {
	done(verdict(ctx, err))
	b.tell(ctx)
}

// verdict is nil for an answer, errExcluded for what says nothing, else the failure.
func verdict(ctx context.Context, err error) error {
	var reply goredis.Error
	switch {
	case err == nil, errors.As(err, &reply):
		return nil
	case ctx.Err() != nil, errors.Is(err, context.Canceled):
		return errExcluded
	case errors.Is(err, goredis.ErrPoolTimeout), errors.Is(err, goredis.ErrPoolExhausted), errors.Is(err, goredis.ErrClosed):
		// Too many calls at a time, or the end of the process.
		return errExcluded
	default:
		return err
	}
}

// tell logs the changes that were noted.
func (b *breaker) tell(ctx context.Context) {
	if !b.changed.CompareAndSwap(true, false) {
		return
	}
	b.mu.Lock()
	changes := b.changes
	b.changes = nil
	b.mu.Unlock()
	for _, c := range changes {
		switch {
		case c.from == gobreaker.StateClosed:
			b.logger.LogAttrs(ctx, slog.LevelWarn, "redis_unavailable", slog.Int("consecutive_failures", failuresToOpen))
		case c.to == gobreaker.StateClosed:
			b.logger.LogAttrs(ctx, slog.LevelInfo, "redis_available")
		}
	}
}
