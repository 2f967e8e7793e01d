package fleettest

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
)

func admissionCases() []testCase {
	return []testCase{
		{"Admit/stores what was admitted", admitStores},
		{"Admit/denied leaves nothing", admitDenied},
		{"Admit/sixty at once get three places", admitConcurrently},
		{"Admit/operators do not wait for each other's limit", admitIndependently},
		{"Admit/same key gives the same task", admitReplays},
		{"Admit/same key with other content is a conflict", admitConflict},
		{"Admit/same key at once gives one task", admitReplaysConcurrently},
		{"Admit/key ends with its task", admitKeyFreed},
		{"Admit/the trace of the spawn stays with the task", admitTrace},
	}
}

func admitStores(b *bench) {
	in := proposal(alice, noon())
	a, err := b.store.Admit(b.ctx, in, limited(3, 4200))
	if err != nil {
		b.Fatalf("Admit: %v", err)
	}
	want := in.Task.Clone()
	want.Version, want.Limit, want.CostMicroUSD = 1, 3, 4200
	want.Cost = fleet.CostBreakdown{Base: 1, Final: 0.5, Breakdown: "half"}
	if diff := cmp.Diff(want, a.Task); diff != "" {
		b.Errorf("admitted task (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, b.get(only(alice), in.Task.ID)); diff != "" {
		b.Errorf("stored task (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(fleet.Snapshot{}, a.Snapshot); diff != "" {
		b.Errorf("snapshot before the first task (-want +got):\n%s", diff)
	}
}

func admitDenied(b *bench) {
	in := proposal(alice, noon())
	in.IdempotencyKey = "k"
	a, err := b.store.Admit(b.ctx, in, limited(0, 4200))
	if err != nil || a.Decision.Admit || a.Decision.Reason != "full" || a.Task.ID != "" {
		b.Fatalf("Admit = %+v, %v; want a denial and no task", a, err)
	}
	if _, err := b.store.Get(b.ctx, everyone(), in.Task.ID); !errors.Is(err, fleet.ErrNotFound) {
		b.Errorf("Get of a denied task: %v, want ErrNotFound", err)
	}
	if diff := cmp.Diff(fleet.Snapshot{}, b.snapshot(alice, noon())); diff != "" {
		b.Errorf("snapshot after a denial (-want +got):\n%s", diff)
	}
	if a, err = b.store.Admit(b.ctx, in, admitAt(1)); err != nil || a.Replayed || !a.Decision.Admit {
		b.Errorf("Admit with the key of a denial = %+v, %v; want a new task", a, err)
	}
}

func admitConcurrently(b *bench) {
	const tries, places, cost = 60, 3, 7000
	var mu sync.Mutex
	var admitted int
	var wg sync.WaitGroup
	for range tries {
		wg.Go(func() {
			a, err := b.store.Admit(b.ctx, proposal(alice, noon()), limited(places, cost))
			if err != nil {
				b.Errorf("Admit: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if a.Decision.Admit {
				admitted++
			}
		})
	}
	wg.Wait()
	if admitted != places {
		b.Errorf("%d of %d were admitted, want %d", admitted, tries, places)
	}
	want := fleet.Snapshot{Active: places, RecentTotal: places, RecentActive: places, SpentMicroUSD: places * cost}
	if diff := cmp.Diff(want, b.snapshot(alice, noon())); diff != "" {
		b.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

func admitIndependently(b *bench) {
	b.admit(alice, noon(), 100)
	a, err := b.store.Admit(b.ctx, proposal(bob, noon()), limited(1, 50))
	if err != nil || !a.Decision.Admit {
		b.Fatalf("Admit of another operator = %+v, %v; want an admission", a.Decision, err)
	}
	want := fleet.Snapshot{Active: 1, RecentTotal: 1, RecentActive: 1, SpentMicroUSD: 50}
	if diff := cmp.Diff(want, b.snapshot(bob, noon())); diff != "" {
		b.Errorf("snapshot of another operator (-want +got):\n%s", diff)
	}
}

func admitReplays(b *bench) {
	in := proposal(alice, noon())
	in.IdempotencyKey = "k"
	first, err := b.store.Admit(b.ctx, in, limited(1, 10))
	if err != nil {
		b.Fatalf("Admit: %v", err)
	}
	again := proposal(alice, noon().Add(time.Minute))
	again.IdempotencyKey = "k"
	// The operator is at its limit: a replay asks nobody.
	a, err := b.store.Admit(b.ctx, again, limited(1, 10))
	if err != nil || !a.Replayed || a.Task.ID != first.Task.ID || a.Snapshot.SpentMicroUSD != 10 {
		b.Fatalf("Admit again = %+v, %v; want a replay of %s", a, err, first.Task.ID)
	}
	b.walk(first.Task, fleet.Cancelled)
	if a, err = b.store.Admit(b.ctx, again, limited(1, 10)); err != nil || !a.Replayed || a.Task.Status != fleet.Cancelled {
		b.Errorf("Admit after the end = %+v, %v; want the ended task", a, err)
	}
	others := proposal(bob, noon())
	others.IdempotencyKey = "k"
	if a, err = b.store.Admit(b.ctx, others, admitAt(10)); err != nil || a.Replayed {
		b.Errorf("Admit of another operator with the key = %+v, %v; want a task of its own", a, err)
	}
	if s := b.snapshot(alice, noon()); s.SpentMicroUSD != 10 {
		b.Errorf("spent %d after replays, want 10", s.SpentMicroUSD)
	}
}

func admitConflict(b *bench) {
	in := proposal(alice, noon())
	in.IdempotencyKey = "k"
	if _, err := b.store.Admit(b.ctx, in, admitAt(10)); err != nil {
		b.Fatalf("Admit: %v", err)
	}
	other := proposal(alice, noon())
	other.IdempotencyKey, other.Task.ContextHash = "k", hashOf("other")
	if _, err := b.store.Admit(b.ctx, other, admitAt(10)); !errors.Is(err, fleet.ErrIdempotencyConflict) {
		b.Errorf("Admit of other content: %v, want ErrIdempotencyConflict", err)
	}
	if s := b.snapshot(alice, noon()); s.Active != 1 || s.SpentMicroUSD != 10 {
		b.Errorf("snapshot = %+v, want one task of 10", s)
	}
}

func admitReplaysConcurrently(b *bench) {
	const tries = 20
	ids := make(chan string, tries)
	var wg sync.WaitGroup
	for range tries {
		wg.Go(func() {
			in := proposal(alice, noon())
			in.IdempotencyKey = "k"
			a, err := b.store.Admit(b.ctx, in, admitAt(10))
			if err != nil {
				b.Errorf("Admit: %v", err)
			}
			ids <- a.Task.ID
		})
	}
	wg.Wait()
	close(ids)
	seen := make(map[string]bool)
	for id := range ids {
		seen[id] = true
	}
	if s := b.snapshot(alice, noon()); len(seen) != 1 || s.Active != 1 || s.SpentMicroUSD != 10 {
		b.Errorf("%d tasks, snapshot %+v; want one", len(seen), s)
	}
}

func admitKeyFreed(b *bench) {
	in := proposal(alice, noon())
	in.IdempotencyKey = "k"
	if _, err := b.store.Admit(b.ctx, in, admitAt(10)); err != nil {
		b.Fatalf("Admit: %v", err)
	}
	b.walk(in.Task, fleet.Cancelled)
	if err := b.store.Delete(b.ctx, only(alice), in.Task.ID); err != nil {
		b.Fatalf("Delete: %v", err)
	}
	again := proposal(alice, noon())
	again.IdempotencyKey = "k"
	if a, err := b.store.Admit(b.ctx, again, admitAt(10)); err != nil || a.Replayed {
		b.Errorf("Admit after the deletion = %+v, %v; want a new task", a, err)
	}
}

// spawnTrace is what a task remembers of its spawn's trace.
type spawnTrace struct{ parent, state string }

func traceOf(t fleet.Task) spawnTrace { return spawnTrace{t.TraceParent, t.TraceState} }

// longestState is a tracestate as long as one may be.
func longestState() string {
	long := strings.Repeat("v", 200)
	return "a=" + long + ",b=" + long + ",c=" + long[:104]
}

// admitTrace wants the trace of a task, and that it has none, wherever the task comes out.
func admitTrace(b *bench) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for key, want := range map[string]spawnTrace{
		"traced": {parent, "a=1,b@c=2"}, "traced, with the longest state": {parent, longestState()},
		"traced, without a state": {parent: parent}, "untraced": {},
	} {
		in := proposal(alice, noon())
		in.IdempotencyKey, in.Task.TraceParent, in.Task.TraceState = key, want.parent, want.state
		a, err := b.store.Admit(b.ctx, in, admitAt(1))
		if err != nil {
			b.Fatalf("Admit: %v", err)
		}
		again := proposal(alice, noon())
		again.IdempotencyKey, again.Task.TraceParent = key, "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01"
		again.Task.TraceState = "f=f"
		replay, err := b.store.Admit(b.ctx, again, admitAt(1))
		if err != nil || !replay.Replayed {
			b.Fatalf("Admit again = %+v, %v; want a replay", replay, err)
		}
		second := b.nextAttempt(a.Task, anyTime())
		event := b.rescue(b.walk(second, fleet.Spawning, fleet.Running))
		listing, err := b.store.List(b.ctx, only(alice), 1)
		if err != nil || len(listing.Tasks) != 1 {
			b.Fatalf("List: %+v, %v", listing, err)
		}
		for from, got := range map[string]spawnTrace{
			"Admit": traceOf(a.Task), "a replay": traceOf(replay.Task), "Update": traceOf(second),
			"Get": traceOf(b.get(only(alice), in.Task.ID)), "List": traceOf(listing.Tasks[0]),
			"a rescue's event": {event.TraceParent, event.TraceState},
		} {
			if got != want {
				b.Errorf("%s has the trace %q, want %q", from, got, want)
			}
		}
		b.walk(b.get(only(alice), in.Task.ID), fleet.Cancelled)
		if err := b.store.Delete(b.ctx, only(alice), in.Task.ID); err != nil {
			b.Fatalf("Delete: %v", err)
		}
	}
}
