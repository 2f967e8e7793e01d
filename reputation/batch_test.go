package reputation_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"dixie/reputation"
	"dixie/reputation/memory"
)

// TestBatchesAreTold holds what is told of a step of the store: before who waits is told.
func TestBatchesAreTold(t *testing.T) {
	t.Parallel()

	failure := errors.New("no room")

	var (
		told []reputation.Batch
		fail bool
	)

	store := &observed{Store: memory.New(0), fail: func() error {
		if fail {
			return failure
		}

		return nil
	}}
	service := reputation.NewService(store, reputation.Config{OnBatch: func(_ context.Context, b reputation.Batch) {
		if b.Took < 0 || b.Took > time.Minute {
			t.Errorf("it took %v", b.Took)
		}

		told = append(told, b)
	}})
	record := func(score float64, id string) error {
		e := signal(score)
		e.ID = id
		_, err := service.Record(t.Context(), e)

		return err
	}

	id := uuid.NewString()
	for _, score := range []float64{0.5, 0.5} {
		if err := record(score, id); err != nil {
			t.Fatal(err)
		}
	}

	if err := record(0.7, id); !errors.Is(err, reputation.ErrEventConflict) {
		t.Errorf("error %v, want a conflict", err)
	}

	fail = true
	if err := record(0.5, ""); !errors.Is(err, reputation.ErrStoreUnavailable) {
		t.Errorf("error %v", err)
	}

	want := []reputation.Batch{
		{Recorded: 1, Size: 1}, {Duplicates: 1, Size: 1}, {Refused: 1, Size: 1}, {Size: 1, Err: failure},
	}
	if diff := cmp.Diff(want, told, cmpopts.IgnoreFields(reputation.Batch{}, "Took"), cmpopts.EquateErrors()); diff != "" {
		t.Error(diff)
	}
}
