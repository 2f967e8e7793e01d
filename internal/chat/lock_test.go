package chat_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/chat"
	"dixie/internal/chat/chattest"
)

func TestMemoryLocks(t *testing.T) {
	t.Parallel()
	chattest.Locks(t, func(*testing.T) (one, other chat.TurnLock) {
		locks := chat.NewMemoryLocks()
		return locks, locks
	})
}

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
