package memory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"dixie/fleet"
	"dixie/fleet/fleettest"
	"dixie/fleet/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	fleettest.Run(t, func(*testing.T) fleet.Store { return memory.New(memory.Config{}) })
}

func TestEphemeral(t *testing.T) {
	t.Parallel()
	var store any = memory.New(memory.Config{})
	if e, ok := store.(interface{ Ephemeral() bool }); !ok || !e.Ephemeral() {
		t.Error("a memory store must say that it is ephemeral")
	}
}

func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

func proposal(operator, text string) fleet.NewTask {
	return fleet.NewTask{Task: fleet.Task{
		ID: uuid.Must(uuid.NewV7()).String(), Operator: operator, Description: text,
		Status: fleet.Proposed, Attempt: 1, CreatedAt: noon(), UpdatedAt: noon(),
	}}
}

func yes(fleet.Snapshot) fleet.Decision {
	return fleet.Decision{Admit: true, Limit: 9, CostMicroUSD: 7}
}

func admit(t testing.TB, store *memory.Store, in fleet.NewTask) fleet.Task {
	t.Helper()
	a, err := store.Admit(t.Context(), in, yes)
	if err != nil {
		t.Fatalf("Admit: %v", err)
	}
	return a.Task
}

func cancelTask(t testing.TB, store *memory.Store, id string) {
	t.Helper()
	_, err := store.Update(t.Context(), fleet.Target{Scope: fleet.Scope{All: true}, ID: id},
		func(task fleet.Task) (fleet.Change, error) {
			moved, err := task.Move(noon(), fleet.Cancelled)
			return fleet.Change{Task: moved}, err
		})
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func exists(t *testing.T, store *memory.Store, id string) bool {
	t.Helper()
	_, err := store.Get(t.Context(), fleet.Scope{All: true}, id)
	if err != nil && !errors.Is(err, fleet.ErrNotFound) {
		t.Fatalf("Get: %v", err)
	}
	return err == nil
}

func TestFinishedTasksAreBoundedPerOperator(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Config{MaxFinishedPerOperator: 2})
	alive := admit(t, store, proposal("a", "x"))
	other := admit(t, store, proposal("b", "x"))
	cancelTask(t, store, other.ID)
	in := proposal("a", "x")
	in.IdempotencyKey = "k"
	ids := []string{admit(t, store, in).ID}
	cancelTask(t, store, ids[0])
	for range 2 {
		id := admit(t, store, proposal("a", "x")).ID
		cancelTask(t, store, id)
		ids = append(ids, id)
	}
	for id, want := range map[string]bool{ids[0]: false, ids[1]: true, ids[2]: true, alive.ID: true, other.ID: true} {
		if exists(t, store, id) != want {
			t.Errorf("task kept: %v, want %v", !want, want)
		}
	}
	again := proposal("a", "x")
	again.IdempotencyKey = "k"
	if a, err := store.Admit(t.Context(), again, yes); err != nil || a.Replayed {
		t.Errorf("Admit with the key of a dropped task = %+v, %v; want a new task", a, err)
	}
	snapshot, err := store.Snapshot(t.Context(), "a", noon())
	if err != nil || snapshot.SpentMicroUSD != 5*7 {
		t.Errorf("spent %d, %v; dropped tasks must stay counted", snapshot.SpentMicroUSD, err)
	}
}

func TestFinishedTasksAreBoundedInAll(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Config{MaxFinished: 3})
	var ids []string
	for i := range 5 {
		id := admit(t, store, proposal(fmt.Sprintf("operator %d", i), "x")).ID
		cancelTask(t, store, id)
		ids = append(ids, id)
	}
	for i, id := range ids {
		if want := i >= 2; exists(t, store, id) != want {
			t.Errorf("task %d kept: %v, want %v", i, !want, want)
		}
	}
}

func TestActiveTasksAreBounded(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Config{MaxActive: 2})
	first := admit(t, store, proposal("a", "x"))
	admit(t, store, proposal("b", "x"))
	if _, err := store.Admit(t.Context(), proposal("c", "x"), yes); !errors.Is(err, fleet.ErrStoreUnavailable) {
		t.Errorf("Admit to a full store: %v, want ErrStoreUnavailable", err)
	}
	if s, err := store.Snapshot(t.Context(), "c", noon()); err != nil || s != (fleet.Snapshot{}) {
		t.Errorf("a refused task left %+v, %v", s, err)
	}
	cancelTask(t, store, first.ID)
	admit(t, store, proposal("c", "x"))
}

func TestTextIsBounded(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Config{MaxBytes: 64 << 10})
	ended := admit(t, store, proposal("a", strings.Repeat("x", 20<<10)))
	cancelTask(t, store, ended.ID)
	alive := admit(t, store, proposal("a", strings.Repeat("x", 40<<10)))
	if !exists(t, store, ended.ID) {
		t.Fatal("the ended task went while there was room")
	}
	target := fleet.Target{Scope: fleet.Scope{All: true}, ID: alive.ID, Attempt: 1}
	line := strings.Repeat("y", 1000)
	for i := range 100 {
		if err := store.AppendLog(t.Context(), target, []string{fmt.Sprintf("%d %s", i, line)}); err != nil {
			t.Fatalf("AppendLog: %v", err)
		}
	}
	if exists(t, store, ended.ID) {
		t.Error("the ended task did not make room for a log")
	}
	lines, err := store.Log(t.Context(), target.Scope, alive.ID, 1000)
	if err != nil || len(lines) < 10 || len(lines) > 24 || !strings.HasPrefix(lines[len(lines)-1], "99 ") {
		t.Errorf("%d lines kept, %v; want what fits beside the task, and the newest", len(lines), err)
	}
	if _, err := store.Admit(t.Context(), proposal("b", line), yes); !errors.Is(err, fleet.ErrStoreUnavailable) {
		t.Errorf("Admit without room: %v, want ErrStoreUnavailable", err)
	}
}

func TestIdleOperatorsAreForgotten(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Config{})
	id := admit(t, store, proposal("a", "x")).ID
	cancelTask(t, store, id)
	if err := store.Delete(t.Context(), fleet.Scope{All: true}, id); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	spent := func(at time.Time) int64 {
		s, err := store.Snapshot(t.Context(), "a", at)
		if err != nil {
			t.Fatalf("Snapshot: %v", err)
		}
		return s.SpentMicroUSD
	}
	for days, want := range []int64{7, 7, 0} {
		next := proposal("b", "x")
		next.Task.CreatedAt = noon().Add(time.Duration(days) * 24 * time.Hour)
		admit(t, store, next)
		if got := spent(noon()); got != want {
			t.Errorf("after %d days the sum is %d, want %d", days, got, want)
		}
	}
}

func TestRetriesWaitWithoutPolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		begin := time.Now()
		in := proposal("a", "x")
		in.Task.CreatedAt = begin.Add(90 * time.Second)
		admit(t, store, in)
		handed := make(chan time.Time, 1)
		err := store.Start(t.Context(), 1, func(context.Context, fleet.Attempt) error {
			handed <- time.Now()
			return nil
		})
		if err != nil {
			t.Fatalf("Start: %v", err)
		}
		if got := (<-handed).Sub(begin); got != 90*time.Second {
			t.Errorf("handed out after %v, want 90s exactly", got)
		}
		if err := store.Start(t.Context(), 1, nil); err == nil {
			t.Error("a second Start must fail")
		}
		if err := store.Stop(t.Context()); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
}

func BenchmarkAdmit(b *testing.B) {
	store := memory.New(memory.Config{MaxFinishedPerOperator: 100})
	b.ReportAllocs()
	for b.Loop() {
		cancelTask(b, store, admit(b, store, proposal("a", "Fix the door")).ID)
	}
}

func BenchmarkAppendLog(b *testing.B) {
	store := memory.New(memory.Config{})
	target := fleet.Target{Scope: fleet.Scope{All: true}, ID: admit(b, store, proposal("a", "x")).ID, Attempt: 1}
	lines := []string{strings.Repeat("x", 80)}
	b.ReportAllocs()
	for b.Loop() {
		if err := store.AppendLog(b.Context(), target, lines); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	store := memory.New(memory.Config{})
	for range 1000 {
		cancelTask(b, store, admit(b, store, proposal("a", "x")).ID)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := store.Snapshot(b.Context(), "a", noon()); err != nil {
			b.Fatal(err)
		}
	}
}
