package memory_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"dixie/reputation"
	"dixie/reputation/memory"
	"dixie/reputation/reputationtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	t.Parallel()
	reputationtest.Run(t, func(*testing.T) reputation.Store { return memory.New(0) })
}

func TestStoreIsEphemeral(t *testing.T) {
	t.Parallel()

	var store reputation.Store = memory.New(0)
	if e, ok := store.(interface{ Ephemeral() bool }); !ok || !e.Ephemeral() {
		t.Error("the store does not say that it is ephemeral")
	}
}

func TestStoreBound(t *testing.T) {
	t.Parallel()

	store := memory.New(3)
	batch := func(n int) []reputation.Entry {
		var entries []reputation.Entry

		for range n {
			entry, err := reputation.NewEntry(reputation.Event{
				ID: uuid.NewString(), AgentID: "agent-1", Type: reputation.QualitySignal, Score: new(0.5),
			}, time.Now())
			if err != nil {
				t.Fatal(err)
			}

			entries = append(entries, entry)
		}

		return entries
	}
	first := batch(2)

	if _, err := store.Apply(t.Context(), first, reputation.FoldBatch); err != nil {
		t.Fatal(err)
	}

	// One would fit, but a batch goes in as a whole or not at all.
	if _, err := store.Apply(t.Context(), batch(2), reputation.FoldBatch); !errors.Is(err, reputation.ErrStoreUnavailable) {
		t.Errorf("beyond the bound: %v, want ErrStoreUnavailable", err)
	}

	if _, err := store.Apply(t.Context(), batch(1), reputation.FoldBatch); err != nil {
		t.Errorf("the last that fits: %v", err)
	}

	// A repetition needs no room.
	outcomes, err := store.Apply(t.Context(), first, reputation.FoldBatch)
	if err != nil || !outcomes[0].Duplicate {
		t.Errorf("a duplicate in a full store: %+v, %v", outcomes, err)
	}

	if a, err := store.Get(t.Context(), "agent-1"); err != nil || a.SampleCount != 3 {
		t.Errorf("%d samples, %v; want 3", a.SampleCount, err)
	}
}

func BenchmarkStoreApply(b *testing.B) {
	store := memory.New(1 << 30)
	now := time.Now()
	b.ReportAllocs()

	for b.Loop() {
		entry, err := reputation.NewEntry(reputation.Event{
			ID: uuid.NewString(), AgentID: "agent-1", Type: reputation.QualitySignal, Score: new(0.5), TaskType: reputation.TaskGeneral,
		}, now)
		if err != nil {
			b.Fatal(err)
		}

		if _, err := store.Apply(b.Context(), []reputation.Entry{entry}, reputation.FoldBatch); err != nil {
			b.Fatal(err)
		}
	}
}
