package chat_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/chat"
)

func TestMemoryLocksFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		locks := chat.NewMemoryLocks()
		release, err := locks.Acquire(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range chat.MaxWaiting {
			wg.Go(func() {
				next, err := locks.Acquire(t.Context(), "s")
				if err != nil {
					t.Errorf("Acquire %d: %v", i, err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				next()
			})
			synctest.Wait()
		}

		// One too many is refused at once; another session is free.
		if _, err := locks.Acquire(t.Context(), "s"); !errors.Is(err, chat.ErrBusy) {
			t.Errorf("Acquire in a full line = %v, want ErrBusy", err)
		}
		other, err := locks.Acquire(t.Context(), "other")
		if err != nil {
			t.Fatalf("Acquire of another session: %v", err)
		}
		other()

		release()
		wg.Wait()
		want := make([]int, chat.MaxWaiting)
		for i := range want {
			want[i] = i
		}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestMemoryLocksLeavingTheLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		locks := chat.NewMemoryLocks()
		release, err := locks.Acquire(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = locks.Acquire(ctx, "s")
		if !errors.Is(err, chat.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Acquire = %v, want ErrBusy and DeadlineExceeded", err)
		}
		if _, err := locks.Acquire(ctx, "free"); !errors.Is(err, chat.ErrBusy) {
			t.Errorf("Acquire with an ended context = %v, want ErrBusy", err)
		}
		release()
		again, err := locks.Acquire(t.Context(), "s")
		if err != nil {
			t.Fatalf("Acquire after all have left: %v", err)
		}
		again()
	})
}

// TestMemoryLocksRace lets waiters leave at the very moment their turn comes.
func TestMemoryLocksRace(t *testing.T) {
	t.Parallel()
	locks := chat.NewMemoryLocks()
	var inside, most int
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*50*time.Microsecond)
				release, err := locks.Acquire(ctx, "s")
				if err == nil {
					inside++ // The race detector sees it when two get in.
					most = max(most, inside)
					inside--
					release()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if most > 1 {
		t.Errorf("%d holders at once", most)
	}
	release, err := locks.Acquire(t.Context(), "s")
	if err != nil {
		t.Fatalf("the session is stuck: %v", err)
	}
	release()
}
