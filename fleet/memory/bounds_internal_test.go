package memory

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
)

func TestBoundsHaveDefaults(t *testing.T) {
	t.Parallel()
	want := Config{MaxActive: 10_000, MaxFinishedPerOperator: 1000, MaxFinished: 20_000, MaxBytes: 256 << 20}
	for _, cfg := range []Config{{}, {MaxActive: -1, MaxFinishedPerOperator: -1, MaxFinished: -1, MaxBytes: -1}} {
		if diff := cmp.Diff(want, New(cfg).cfg); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", cfg, diff)
		}
	}
}

// fill gives the store a task with a log and an idempotency key, and ends it if told.
func fill(t *testing.T, s *Store, n int, end bool) fleet.Task {
	t.Helper()
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	in := fleet.NewTask{IdempotencyKey: fmt.Sprint("key-", n), Task: fleet.Task{
		ID: fmt.Sprint("task-", n), Operator: fmt.Sprint("operator-", n%3), Description: "Fix the door",
		Status: fleet.Proposed, Attempt: 1, CreatedAt: at, UpdatedAt: at,
		ContextOverrides: map[string]string{"a": "b"},
	}}
	a, err := s.Admit(t.Context(), in, func(fleet.Snapshot) fleet.Decision {
		return fleet.Decision{Admit: true, Limit: 100, CostMicroUSD: 7}
	})
	if err != nil {
		t.Fatalf("Admit: %v", err)
	}
	target := fleet.Target{Scope: fleet.Scope{All: true}, ID: a.Task.ID}
	if err := s.AppendLog(t.Context(), target, []string{"one", "two"}); err != nil {
		t.Fatalf("AppendLog: %v", err)
	}
	if !end {
		return a.Task
	}
	task, err := s.Update(t.Context(), target, func(task fleet.Task) (fleet.Change, error) {
		moved, err := task.Move(at, fleet.Cancelled)
		return fleet.Change{Task: moved}, err
	})
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	return task
}

// want compares what the store holds of everything that grows with its tasks.
func want(t *testing.T, s *Store, when string, tasks int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, created, finished, bytes := 0, 0, 0, 0
	for _, op := range s.operators {
		keys += len(op.keys)
		created += op.created.Len()
		finished += op.finished.Len()
	}
	for _, r := range s.records {
		bytes += r.size + r.log.bytes()
	}
	got := map[string]int{
		"records": len(s.records), "keys": keys, "created": created, "all created": s.all.created.Len(),
	}
	if diff := cmp.Diff(map[string]int{"records": tasks, "keys": tasks, "created": tasks, "all created": tasks}, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
	if finished != s.all.finished.Len() || s.queue.Len() != tasks-finished || bytes != s.bytes {
		t.Errorf("%s: %d and %d finished, %d in the queue, %d bytes of which %d are counted",
			when, finished, s.all.finished.Len(), s.queue.Len(), bytes, s.bytes)
	}
}

// TestNothingOutlivesItsTask sees keys, logs, places in lists and in the queue go with what they belong to.
func TestNothingOutlivesItsTask(t *testing.T) {
	t.Parallel()
	s := New(Config{MaxFinished: 20, MaxFinishedPerOperator: 15})
	var ids []string
	for n := range 200 {
		ids = append(ids, fill(t, s, n, n%20 != 0).ID)
	}
	want(t, s, "with ten active and twenty finished tasks", 30)
	for _, id := range ids {
		_, err := s.Update(t.Context(), fleet.Target{Scope: fleet.Scope{All: true}, ID: id}, func(task fleet.Task) (fleet.Change, error) {
			moved, err := task.Move(time.Now(), fleet.Cancelled)
			return fleet.Change{Task: moved}, err
		})
		var ended *fleet.ConflictError
		if err != nil && !errors.Is(err, fleet.ErrNotFound) && !errors.As(err, &ended) {
			t.Fatalf("Update: %v", err)
		}
	}
	want(t, s, "with twenty finished tasks", 20)
	for _, id := range ids {
		if err := s.Delete(t.Context(), fleet.Scope{All: true}, id); err != nil && !errors.Is(err, fleet.ErrNotFound) {
			t.Fatalf("Delete: %v", err)
		}
	}
	want(t, s, "with all deleted", 0)

	// The operators stay for the sums of their days, and no longer.
	for i, n := range []int{3, 3, 0} {
		s.mu.Lock()
		s.forgetIdle(fmt.Sprintf("2026-03-%02d", 4+i))
		if len(s.operators) != n {
			t.Errorf("%d operators are kept on day %d, want %d", len(s.operators), i, n)
		}
		s.mu.Unlock()
	}
}
