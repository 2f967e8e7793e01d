package fleettest

import (
	"errors"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
)

func taskCases() []testCase {
	return []testCase{
		{"Isolation/no read or write reaches another operator's task", isolation},
		{"Update/commits what may change", updateCommits},
		{"Update/commits what is no more", updateClears},
		{"Update/keeps what may not change", updateKeeps},
		{"Update/an error changes nothing", updateFails},
		{"Update/at once loses nothing", updateConcurrently},
		{"Update/values do not share memory", updateCopies},
		{"Fence/an old attempt changes nothing", fenceOld},
		{"Fence/an ended task takes nothing", fenceEnded},
		{"Delete/only what has ended", deleteRules},
		{"List/counts all and returns the newest", listNewest},
		{"Health/counts over operators", healthCounts},
	}
}

func noChange(t fleet.Task) (fleet.Change, error) { return fleet.Change{Task: t}, nil }

func isolation(b *bench) {
	task := b.walk(b.admit(alice, noon(), 5), fleet.Cancelled)
	for name, scope := range map[string]fleet.Scope{
		"another operator": only(bob), "no operator": {}, "lower case": only("0xa11ce00000000000000000000000000000000001"),
	} {
		target := fleet.Target{Scope: scope, ID: task.ID}
		_, get := b.store.Get(b.ctx, scope, task.ID)
		_, update := b.store.Update(b.ctx, target, noChange)
		_, log := b.store.Log(b.ctx, scope, task.ID, 10)
		for call, err := range map[string]error{
			"Get": get, "Update": update, "Log": log,
			"AppendLog": b.store.AppendLog(b.ctx, target, []string{"x"}),
			"Delete":    b.store.Delete(b.ctx, scope, task.ID),
		} {
			if !errors.Is(err, fleet.ErrNotFound) {
				b.Errorf("%s by %s: %v, want ErrNotFound", call, name, err)
			}
		}
		listing, err := b.store.List(b.ctx, scope, 50)
		if err != nil || len(listing.Tasks) != 0 || len(listing.Counts) != 0 {
			b.Errorf("List by %s = %+v, %v; want nothing", name, listing, err)
		}
	}
	if got := b.get(everyone(), task.ID); got.Version != task.Version {
		b.Errorf("version %d after foreign writes, want %d", got.Version, task.Version)
	}
	if _, err := b.store.Get(b.ctx, everyone(), newID()); !errors.Is(err, fleet.ErrNotFound) {
		b.Errorf("Get of an unknown id: %v, want ErrNotFound", err)
	}
}

func updateCommits(b *bench) {
	task := b.admit(alice, noon(), 5)
	code := 3
	want := task.Clone()
	want.Version++
	want.Status, want.Attempt, want.RetryCount, want.PromptTokens = fleet.Retrying, 2, 1, 6000
	want.Reference, want.PRNumber = "session", 17
	want.Failure = &fleet.Failure{Reason: "exit", Attempt: 1, ExitCode: &code, At: noon()}
	want.UpdatedAt, want.SpawnedAt, want.CompletedAt = noon().Add(time.Hour), noon().Add(time.Minute), noon().Add(time.Hour)
	want.History = append(want.History, fleet.Passage{Status: fleet.Retrying, At: noon().Add(time.Hour)})
	got, err := b.store.Update(b.ctx, b.fence(task), func(fleet.Task) (fleet.Change, error) {
		return fleet.Change{Task: want}, nil
	})
	if err != nil {
		b.Fatalf("Update: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("returned (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, b.get(only(alice), task.ID)); diff != "" {
		b.Errorf("stored (-want +got):\n%s", diff)
	}
}

func updateClears(b *bench) {
	task := b.admit(alice, noon(), 5)
	for _, filled := range []bool{true, false} {
		want := b.get(only(alice), task.ID)
		want.Version++
		want.Reference, want.PRNumber, want.Failure, want.SpawnedAt = "", 0, nil, time.Time{}
		if filled {
			want.Reference, want.PRNumber, want.SpawnedAt = "session", 17, noon()
			want.Failure = &fleet.Failure{Reason: "exit", Attempt: 1, At: noon()}
		}
		_, err := b.store.Update(b.ctx, b.fence(task), func(fleet.Task) (fleet.Change, error) {
			return fleet.Change{Task: want}, nil
		})
		if err != nil {
			b.Fatalf("Update: %v", err)
		}
		if diff := cmp.Diff(want, b.get(only(alice), task.ID)); diff != "" {
			b.Errorf("stored, filled %v (-want +got):\n%s", filled, diff)
		}
	}
}

func updateKeeps(b *bench) {
	task := b.admit(alice, noon(), 5)
	got, err := b.store.Update(b.ctx, b.fence(task), func(t fleet.Task) (fleet.Change, error) {
		t.Operator, t.Description, t.ContextHash, t.CostMicroUSD, t.CreatedAt, t.Version = bob, "x", "x", 0, noon().Add(time.Hour), 99
		t.ID, t.Branch, t.MaxRetries, t.Limit, t.TraceParent, t.TraceState = newID(), "x", 10, 99, "x", "x=x"
		return fleet.Change{Task: t}, nil
	})
	want := task.Clone()
	want.Version++
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		b.Errorf("Update: %v (-want +got):\n%s", err, diff)
	}
}

func updateFails(b *bench) {
	task := b.admit(alice, noon(), 5)
	refusal := errors.New("no")
	_, err := b.store.Update(b.ctx, b.fence(task), func(t fleet.Task) (fleet.Change, error) {
		t.Status = fleet.Cancelled
		t.History[0].Status = fleet.Merged
		return fleet.Change{Task: t, Release: true}, refusal
	})
	if !errors.Is(err, refusal) {
		b.Errorf("Update: %v, want the change's own error", err)
	}
	if diff := cmp.Diff(task, b.get(only(alice), task.ID)); diff != "" {
		b.Errorf("after a refused change (-want +got):\n%s", diff)
	}
	b.spent(alice, noon(), 5)
}

func updateConcurrently(b *bench) {
	const writers = 30
	task := b.admit(alice, noon(), 5)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			_, err := b.store.Update(b.ctx, b.fence(task), func(t fleet.Task) (fleet.Change, error) {
				t.RetryCount++
				return fleet.Change{Task: t}, nil
			})
			if err != nil {
				b.Errorf("Update: %v", err)
			}
		})
	}
	wg.Wait()
	if got := b.get(only(alice), task.ID); got.RetryCount != writers || got.Version != task.Version+writers {
		b.Errorf("retries %d, version %d after %d writes; want %d and %d",
			got.RetryCount, got.Version, writers, writers, task.Version+writers)
	}
}

func updateCopies(b *bench) {
	in := proposal(alice, noon())
	admitted, err := b.store.Admit(b.ctx, in, admitAt(1))
	if err != nil {
		b.Fatalf("Admit: %v", err)
	}
	code := 1
	failure := &fleet.Failure{Reason: "exit", Attempt: 1, ExitCode: &code, At: noon()}
	updated, err := b.store.Update(b.ctx, b.fence(in.Task), func(t fleet.Task) (fleet.Change, error) {
		t.Failure = failure
		return fleet.Change{Task: t}, nil
	})
	if err != nil {
		b.Fatalf("Update: %v", err)
	}
	want := updated.Clone()
	failure.Reason, code = "changed", 2
	listing, err := b.store.List(b.ctx, only(alice), 1)
	if err != nil || len(listing.Tasks) != 1 {
		b.Fatalf("List: %+v, %v", listing, err)
	}
	updated.Failure.Reason, *updated.Failure.ExitCode = "changed", 2
	for _, task := range []fleet.Task{in.Task, admitted.Task, updated, listing.Tasks[0], b.get(only(alice), in.Task.ID)} {
		task.ContextOverrides["tool"] = "axe"
		task.History[0].Status = fleet.Merged
	}
	if diff := cmp.Diff(want, b.get(only(alice), in.Task.ID)); diff != "" {
		b.Errorf("after writing to copies (-want +got):\n%s", diff)
	}
}

// nextAttempt ends an attempt the way a retry does.
func (b *bench) nextAttempt(task fleet.Task, runAt time.Time) fleet.Task {
	b.Helper()
	out, err := b.store.Update(b.ctx, b.fence(task), func(t fleet.Task) (fleet.Change, error) {
		moved, err := t.Move(t.UpdatedAt, fleet.Spawning, fleet.Failed, fleet.Retrying)
		moved.Attempt++
		return fleet.Change{Task: moved, RunAt: runAt}, err
	})
	if err != nil {
		b.Fatalf("ending an attempt: %v", err)
	}
	return out
}

func (b *bench) wantFenced(target fleet.Target) {
	b.Helper()
	before := b.get(everyone(), target.ID)
	if _, err := b.store.Update(b.ctx, target, noChange); !errors.Is(err, fleet.ErrFenced) {
		b.Errorf("Update: %v, want ErrFenced", err)
	}
	if err := b.store.AppendLog(b.ctx, target, []string{"late"}); !errors.Is(err, fleet.ErrFenced) {
		b.Errorf("AppendLog: %v, want ErrFenced", err)
	}
	if diff := cmp.Diff(before, b.get(everyone(), target.ID)); diff != "" {
		b.Errorf("after fenced writes (-want +got):\n%s", diff)
	}
	if lines, err := b.store.Log(b.ctx, everyone(), target.ID, 10); err != nil || len(lines) != 0 {
		b.Errorf("Log = %q, %v; want nothing", lines, err)
	}
}

func fenceOld(b *bench) {
	task := b.admit(alice, noon(), 5)
	second := b.nextAttempt(task, anyTime())
	b.wantFenced(b.fence(task))
	early := b.fence(second)
	early.Attempt++
	b.wantFenced(early)
	if _, err := b.store.Update(b.ctx, b.fence(second), noChange); err != nil {
		b.Errorf("Update by the current attempt: %v", err)
	}
}

func fenceEnded(b *bench) {
	task := b.walk(b.admit(alice, noon(), 5), fleet.Spawning, fleet.Cancelled)
	b.wantFenced(b.fence(task))
}

func deleteRules(b *bench) {
	for _, path := range [][]fleet.Status{
		{},
		{fleet.Spawning},
		{fleet.Spawning, fleet.Running},
		{fleet.Spawning, fleet.Running, fleet.PRCreated},
		{fleet.Spawning, fleet.Running, fleet.PRCreated, fleet.Reviewing},
		{fleet.Spawning, fleet.Running, fleet.PRCreated, fleet.Reviewing, fleet.Ready},
		{fleet.Spawning, fleet.Running, fleet.PRCreated, fleet.Reviewing, fleet.Ready, fleet.Merged},
		{fleet.Spawning, fleet.Running, fleet.PRCreated, fleet.Reviewing, fleet.Rejected},
		{fleet.Spawning, fleet.Running, fleet.Completed},
		{fleet.Spawning, fleet.Failed},
		{fleet.Spawning, fleet.Failed, fleet.Retrying},
		{fleet.Spawning, fleet.Failed, fleet.Abandoned},
		{fleet.Cancelled},
	} {
		task := b.walk(b.admit(alice, noon(), 5), path...)
		err := b.store.Delete(b.ctx, only(alice), task.ID)
		_, left := b.store.Get(b.ctx, only(alice), task.ID)
		var conflict *fleet.ConflictError
		switch {
		case task.Status.CanDelete():
			if err != nil || !errors.Is(left, fleet.ErrNotFound) {
				b.Errorf("Delete of a task that is %s: %v, then Get: %v", task.Status, err, left)
			}
			if err := b.store.Delete(b.ctx, only(alice), task.ID); !errors.Is(err, fleet.ErrNotFound) {
				b.Errorf("second Delete: %v, want ErrNotFound", err)
			}
		case !errors.As(err, &conflict) || conflict.Status != task.Status || left != nil:
			b.Errorf("Delete of a task that is %s: %v, then Get: %v; want a conflict and the task", task.Status, err, left)
		}
	}
}

func listNewest(b *bench) {
	var ids []string
	for i := range 5 {
		task := b.admit(alice, noon().Add(time.Duration(i)*time.Second), 5)
		ids = append([]string{task.ID}, ids...)
		if i == 0 {
			b.walk(task, fleet.Cancelled)
		}
	}
	b.admit(bob, noon().Add(time.Minute), 5)
	listing, err := b.store.List(b.ctx, only(alice), 3)
	if err != nil {
		b.Fatalf("List: %v", err)
	}
	counts := make(map[fleet.Status]int)
	counts[fleet.Proposed], counts[fleet.Cancelled] = 4, 1
	if diff := cmp.Diff(counts, listing.Counts); diff != "" {
		b.Errorf("counts (-want +got):\n%s", diff)
	}
	var got []string
	for _, task := range listing.Tasks {
		got = append(got, task.ID)
	}
	if diff := cmp.Diff(ids[:3], got); diff != "" {
		b.Errorf("newest tasks (-want +got):\n%s", diff)
	}
	if listing, err = b.store.List(b.ctx, everyone(), 50); err != nil || len(listing.Tasks) != 6 || listing.Tasks[0].Operator != bob {
		b.Errorf("List of all: %d tasks, %v; want 6, the newest first", len(listing.Tasks), err)
	}
}

func healthCounts(b *bench) {
	first := b.admit(alice, noon(), 5)
	second := b.admit(alice, noon(), 5)
	b.walk(b.admit(bob, noon(), 5), fleet.Cancelled)
	want := fleet.Health{Total: 3, Active: 2}
	if got, err := b.store.Health(b.ctx); err != nil || got != want {
		b.Errorf("Health = %+v, %v; want %+v", got, err, want)
	}
	// The tier has come down since: the latest admission knows a limit below what is active.
	b.walk(first, fleet.Cancelled)
	lowered := func(s fleet.Snapshot) fleet.Decision { d := limited(2, 1)(s); d.Limit = 1; return d }
	if _, err := b.store.Admit(b.ctx, proposal(alice, noon().Add(time.Second)), lowered); err != nil {
		b.Fatalf("Admit: %v", err)
	}
	if got, err := b.store.Health(b.ctx); err != nil || got.OverLimit != 1 {
		b.Errorf("Health = %+v, %v; want one operator over its limit", got, err)
	}
	b.walk(second, fleet.Cancelled)
	if got, err := b.store.Health(b.ctx); err != nil || got.OverLimit != 0 {
		b.Errorf("Health = %+v, %v; want nobody over the limit", got, err)
	}
}
