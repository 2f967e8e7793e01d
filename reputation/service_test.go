package reputation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"dixie/reputation"
	"dixie/reputation/memory"
)

// observed is a store in memory whose steps can be held up, counted and broken.
type observed struct {
	*memory.Store

	mu      sync.Mutex
	batches [][]string // By event id.
	reads   int
	hold    chan struct{} // When not nil, each step waits for a value, or its context.
	fail    func() error
	// When not nil, each read waits for it, with its answer in hand.
	holdReads chan struct{}
}

func (o *observed) Apply(ctx context.Context, batch []reputation.Entry, fold reputation.Fold) ([]reputation.Outcome, error) {
	ids := make([]string, len(batch))
	for i, entry := range batch {
		ids[i] = entry.Event.ID
	}

	o.mu.Lock()
	o.batches = append(o.batches, ids)
	o.mu.Unlock()

	if o.hold != nil {
		select {
		case <-o.hold:
		case <-ctx.Done():
			return nil, fmt.Errorf("apply: %w", ctx.Err())
		}
	}

	if o.fail != nil {
		if err := o.fail(); err != nil {
			return nil, err
		}
	}

	return o.Store.Apply(ctx, batch, fold)
}

func (o *observed) Get(ctx context.Context, agentID string) (reputation.Aggregate, error) {
	o.mu.Lock()
	o.reads++
	o.mu.Unlock()

	a, err := o.Store.Get(ctx, agentID)
	if o.holdReads != nil {
		<-o.holdReads
	}

	return a, err
}

func (o *observed) sizes() []int {
	o.mu.Lock()
	defer o.mu.Unlock()

	sizes := make([]int, len(o.batches))
	for i, batch := range o.batches {
		sizes[i] = len(batch)
	}

	return sizes
}

func signal(score float64) reputation.Event {
	return reputation.Event{ID: uuid.NewString(), AgentID: "agent", Type: reputation.QualitySignal, Score: &score}
}

// Recordings that arrive while the store is busy share its next step, and each gets its own outcome.
func TestServiceCoalesces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), hold: make(chan struct{})}
		service := reputation.NewService(store, reputation.Config{})
		results := make([]reputation.Recorded, 9)
		conflicting := signal(0.5)

		var wg sync.WaitGroup

		record := func(i int, e reputation.Event) {
			wg.Go(func() {
				var err error
				if results[i], err = service.Record(t.Context(), e); err != nil {
					t.Errorf("recording %d: %v", i, err)
				}
			})
			synctest.Wait() // It waits for the store, or in line.
		}

		record(0, conflicting)

		for i := 1; i < 8; i++ {
			record(i, signal(0.5))
		}

		// One that fails does not take its neighbours with it.
		other := conflicting
		other.Score = new(0.1)

		wg.Go(func() {
			if _, err := service.Record(t.Context(), other); !errors.Is(err, reputation.ErrEventConflict) {
				t.Errorf("other content under the same id: %v", err)
			}
		})
		synctest.Wait()
		record(8, signal(0.5))

		store.hold <- struct{}{}
		store.hold <- struct{}{}

		wg.Wait()

		if diff := cmp.Diff([]int{1, 9}, store.sizes()); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}

		for i, r := range results {
			if r.SampleCount != i+1 {
				t.Errorf("recording %d is sample %d", i, r.SampleCount)
			}
		}
	})
}

// A caller that gives up while in line takes its entry along; one whose entry is at the store does not.
func TestServiceCallerGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), hold: make(chan struct{})}
		service := reputation.NewService(store, reputation.Config{})
		ctx, cancel := context.WithCancel(t.Context())

		var wg sync.WaitGroup

		for range 2 {
			wg.Go(func() {
				if _, err := service.Record(ctx, signal(0.5)); !errors.Is(err, context.Canceled) {
					t.Errorf("a caller that gave up: %v", err)
				}
			})
			synctest.Wait()
		}

		cancel()
		wg.Wait()
		store.hold <- struct{}{}
		synctest.Wait()

		if view, err := service.Get(t.Context(), "agent"); err != nil || view.SampleCount != 1 {
			t.Errorf("%d samples, %v; want the one that was at the store", view.SampleCount, err)
		}

		if _, err := service.Record(ctx, signal(0.5)); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that had given up before: %v", err)
		}

		if diff := cmp.Diff([]int{1}, store.sizes()); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	})
}

// However many wait, a step takes a bounded number of them, in the order in which they came, and the rest
// follows.
func TestServiceBatchesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), hold: make(chan struct{}, 8)}
		service := reputation.NewService(store, reputation.Config{MaxBatch: 250})

		var (
			wg  sync.WaitGroup
			ids []string
		)

		for range 601 {
			event := signal(0.5)
			ids = append(ids, event.ID)

			wg.Go(func() {
				if _, err := service.Record(t.Context(), event); err != nil {
					t.Errorf("Record: %v", err)
				}
			})
			synctest.Wait()
		}

		for range 4 {
			store.hold <- struct{}{}
		}

		wg.Wait()

		if diff := cmp.Diff([]int{1, 250, 250, 100}, store.sizes()); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}

		if diff := cmp.Diff(ids, slices.Concat(store.batches...)); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

// One that leaves the middle of the line leaves the others in place.
func TestServiceLeavingTheLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), hold: make(chan struct{})}
		service := reputation.NewService(store, reputation.Config{})
		leaving, leave := context.WithCancel(t.Context())

		var (
			wg   sync.WaitGroup
			stay []string
		)

		for i := range 4 {
			event, ctx := signal(0.5), t.Context()
			if i == 2 {
				ctx = leaving
			} else {
				stay = append(stay, event.ID)
			}

			wg.Go(func() {
				if _, err := service.Record(ctx, event); err != nil && i != 2 {
					t.Errorf("recording %d: %v", i, err)
				}
			})
			synctest.Wait()
		}

		leave()
		synctest.Wait()
		store.hold <- struct{}{}
		store.hold <- struct{}{}

		wg.Wait()

		if diff := cmp.Diff(stay, slices.Concat(store.batches...)); diff != "" {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
	})
}

// A line that is too long is a store that does not keep up.
func TestServiceLineIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), hold: make(chan struct{})}
		service := reputation.NewService(store, reputation.Config{MaxBatch: 1})
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()

		var wg sync.WaitGroup

		for range 10_001 { // One at the store, and as many in line as there may be.
			wg.Go(func() {
				if _, err := service.Record(ctx, signal(0.5)); !errors.Is(err, context.Canceled) {
					t.Errorf("one that has a place in line: %v", err)
				}
			})
		}

		synctest.Wait()

		if _, err := service.Record(t.Context(), signal(0.5)); !errors.Is(err, reputation.ErrStoreUnavailable) {
			t.Errorf("one more: %v", err)
		}

		// A store that hangs is given up with the same error, but after a while.
		if took := time.Since(began); took != 0 {
			t.Errorf("one more was refused after %v, want at once", took)
		}

		cancel()
		wg.Wait()
		close(store.hold)
	})
}

func TestServiceStoreFails(t *testing.T) {
	t.Parallel()

	cause := errors.New("connection refused")

	for name, fail := range map[string]func() error{
		"an error": func() error { return cause },
		"a panic":  func() error { panic(cause) }, //nolint:forbidigo // It is what the test is about.
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			store := &observed{Store: memory.New(0), fail: fail}
			service := reputation.NewService(store, reputation.Config{})
			event := signal(0.5)

			if _, err := service.Record(t.Context(), event); !errors.Is(err, reputation.ErrStoreUnavailable) {
				t.Errorf("Record: %v, want ErrStoreUnavailable", err)
			}

			store.fail = nil
			if r, err := service.Record(t.Context(), event); err != nil || r.Duplicate {
				t.Errorf("the same again: %+v, %v", r, err)
			}
		})
	}
}

// A store that hangs is given up after the commit timeout, whether or not anybody waits.
func TestServiceStoreHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), hold: make(chan struct{})}
		service := reputation.NewService(store, reputation.Config{CommitTimeout: 3 * time.Second})
		began := time.Now()

		_, err := service.Record(t.Context(), signal(0.5))
		if !errors.Is(err, reputation.ErrStoreUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Record: %v", err)
		}

		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestServiceClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), hold: make(chan struct{})}
		service := reputation.NewService(store, reputation.Config{})

		var wg sync.WaitGroup

		for range 2 {
			wg.Go(func() {
				if _, err := service.Record(t.Context(), signal(0.5)); err != nil {
					t.Errorf("accepted before Close: %v", err)
				}
			})
			synctest.Wait()
		}

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		if err := service.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close while the store is busy: %v", err)
		}

		closed := make(chan error, 1)
		go func() { closed <- service.Close(t.Context()) }()

		store.hold <- struct{}{}
		store.hold <- struct{}{}

		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}

		wg.Wait()

		if _, err := service.Record(t.Context(), signal(0.5)); !errors.Is(err, reputation.ErrStoreUnavailable) {
			t.Errorf("Record after Close: %v", err)
		}

		if view, err := service.Get(t.Context(), "agent"); err != nil || view.SampleCount != 2 {
			t.Errorf("reading after Close: %d samples, %v", view.SampleCount, err)
		}
	})
}

func BenchmarkServiceRecord(b *testing.B) {
	service := reputation.NewService(memory.New(1<<30), reputation.Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := service.Record(b.Context(), signal(0.5)); err != nil {
				b.Error(err)

				return
			}
		}
	})
}
