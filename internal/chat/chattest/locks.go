package chattest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dixie/internal/chat"
)

// Locks holds a [chat.TurnLock] to its description. open makes two locks that know each other's holders, as
// those of two replicas do; they may be the same one.
func Locks(t *testing.T, open func(t *testing.T) (one, other chat.TurnLock)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, chat.TurnLock, chat.TurnLock){
		"OneHolderAtATime":        oneHolderAtATime,
		"SessionsAreApart":        sessionsAreApart,
		"TheNextOneIsLetIn":       theNextOneIsLetIn,
		"WaitingEndsWithContext":  waitingEndsWithContext,
		"WhoLeavesHoldsNobodyUp":  whoLeavesHoldsNobodyUp,
		"AnEndedContextIsRefused": anEndedContextIsRefused,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, other := open(t)
			test(t, one, other)
		})
	}
}

func acquire(t *testing.T, lock chat.TurnLock, sessionID string) func() {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	release, err := lock.Acquire(ctx, sessionID)
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return release
}

// stillHeld fails the test if the session can be had now.
func stillHeld(t *testing.T, lock chat.TurnLock, sessionID string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if release, err := lock.Acquire(ctx, sessionID); err == nil {
		release()
		t.Error("a session has two holders")
	} else if !errors.Is(err, chat.ErrBusy) {
		t.Errorf("Acquire = %v, want ErrBusy", err)
	}
}

func oneHolderAtATime(t *testing.T, one, other chat.TurnLock) {
	t.Helper()
	var inside, turns atomic.Int32
	var wg sync.WaitGroup
	for _, lock := range []chat.TurnLock{one, other} {
		for range 5 {
			wg.Go(func() {
				for range 5 {
					release, err := lock.Acquire(t.Context(), "s")
					if err != nil {
						t.Error(err)
						return
					}
					if n := inside.Add(1); n > 1 {
						t.Errorf("%d holders at once", n)
					}
					turns.Add(1)
					inside.Add(-1)
					release()
				}
			})
		}
	}
	wg.Wait()
	if turns.Load() != 50 {
		t.Errorf("%d turns, want 50", turns.Load())
	}
}

func sessionsAreApart(t *testing.T, one, other chat.TurnLock) {
	t.Helper()
	first, second := acquire(t, one, "s-1"), acquire(t, other, "s-2")
	defer first()
	defer second()
	stillHeld(t, one, "s-1")
	stillHeld(t, other, "s-1")
	stillHeld(t, one, "s-2")
	stillHeld(t, other, "s-2")
}

func theNextOneIsLetIn(t *testing.T, one, other chat.TurnLock) {
	t.Helper()
	release := acquire(t, one, "s")
	var wg sync.WaitGroup
	for _, lock := range []chat.TurnLock{one, other} {
		wg.Go(func() {
			next, err := lock.Acquire(t.Context(), "s")
			if err != nil {
				t.Errorf("Acquire of one that waited: %v", err)
				return
			}
			next()
		})
	}
	stillHeld(t, other, "s")
	release()
	wg.Wait()
}

func waitingEndsWithContext(t *testing.T, one, other chat.TurnLock) {
	t.Helper()
	release := acquire(t, one, "s")
	defer release()
	cause := errors.New("the client went away")
	for _, lock := range []chat.TurnLock{one, other} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
		_, err := lock.Acquire(ctx, "s")
		if !errors.Is(err, chat.ErrBusy) || !errors.Is(err, cause) {
			t.Errorf("Acquire = %v, want ErrBusy and the cause", err)
		}
		ctx, cancelTimeout := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err = lock.Acquire(ctx, "s")
		cancelTimeout()
		if !errors.Is(err, chat.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Acquire = %v, want ErrBusy and DeadlineExceeded", err)
		}
	}
}

// whoLeavesHoldsNobodyUp lets waiters leave at the very moment their turn comes.
func whoLeavesHoldsNobodyUp(t *testing.T, one, other chat.TurnLock) {
	t.Helper()
	var inside atomic.Int32
	var wg sync.WaitGroup
	for _, lock := range []chat.TurnLock{one, other} {
		for range 4 {
			wg.Go(func() {
				for i := range 30 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*200*time.Microsecond)
					release, err := lock.Acquire(ctx, "s")
					if err == nil {
						if n := inside.Add(1); n > 1 {
							t.Errorf("%d holders at once", n)
						}
						inside.Add(-1)
						release()
					}
					cancel()
				}
			})
		}
	}
	wg.Wait()
	acquire(t, one, "s")()
	acquire(t, other, "s")()
}

func anEndedContextIsRefused(t *testing.T, one, _ chat.TurnLock) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := one.Acquire(ctx, "free"); !errors.Is(err, chat.ErrBusy) || !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire = %v, want ErrBusy and Canceled", err)
	}
	acquire(t, one, "free")()
}
