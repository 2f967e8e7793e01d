package fleettest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
)

// RunEvents runs the cases of a store that publishes events itself, beside [Run]. open returns a new, empty
// store that publishes by calling publish, and again later after an error of it; and cleans up after it.
func RunEvents(t *testing.T, open func(t *testing.T, publish func(context.Context, fleet.Event) error) fleet.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*bench, *audience)
	}{
		{"Events/what was committed is published", eventsCommitted},
		{"Events/what was not committed is not", eventsNotCommitted},
		{"Events/what was not taken is published again", eventsAgain},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			told := &audience{events: make(chan fleet.Event, 100), expected: make(map[string]fleet.Event)}
			b := &bench{T: t, ctx: t.Context(), store: open(t, told.publish)}
			if p, ok := b.store.(interface{ Publishes() bool }); !ok || !p.Publishes() {
				t.Error("the store must say that it publishes")
			}
			c.test(b, told)
		})
	}
}

// audience is who a store publishes to.
type audience struct {
	events   chan fleet.Event
	refusals atomic.Int32 // How many more times it refuses.
	expected map[string]fleet.Event
}

func (a *audience) publish(_ context.Context, e fleet.Event) error {
	if a.refusals.Add(-1) >= 0 {
		return errors.New("not now")
	}
	a.events <- e
	return nil
}

// wantEvents waits until all of these have been published, in any order, beside earlier ones again.
func (b *bench) wantEvents(told *audience, want ...fleet.Event) {
	b.Helper()
	missing := make(map[string]bool)
	for _, e := range want {
		missing[e.TaskID+string(e.Type)] = true
		told.expected[e.TaskID+string(e.Type)] = e
	}
	for len(missing) > 0 {
		delete(missing, b.wantExpected(told, receive(b, told.events)))
	}
}

// wantExpected checks an event that was published, and returns what tells it from others.
func (b *bench) wantExpected(told *audience, e fleet.Event) string {
	b.Helper()
	key := e.TaskID + string(e.Type)
	if diff := cmp.Diff(told.expected[key], e); diff != "" {
		b.Errorf("published (-want +got):\n%s", diff)
	}
	return key
}

// announced is a task to admit with an event that has all that an event can have.
func announced(operator string) fleet.NewTask {
	in := proposal(operator, time.Now().UTC().Truncate(time.Microsecond))
	in.Event = fleet.Event{
		Type: fleet.AgentSpawned, TaskID: in.Task.ID, Operator: operator, At: in.Task.CreatedAt, TaskType: in.Task.TaskType,
		AgentType: in.Task.AgentType, Branch: in.Task.Branch, Tier: in.Task.Tier, Model: in.Task.Model,
		RoutingReason: "requested", Reason: "none", RetryCount: 7, TraceParent: in.Task.TraceParent, TraceState: in.Task.TraceState,
	}
	return in
}

func (b *bench) admitAnnounced(in fleet.NewTask) fleet.Task {
	b.Helper()
	a, err := b.store.Admit(b.ctx, in, limited(2, 1))
	if err != nil || !a.Decision.Admit {
		b.Fatalf("Admit = %+v, %v; want an admission", a.Decision, err)
	}
	return a.Task
}

// rescue takes a task that runs from its worker, and returns the event that tells of it.
func (b *bench) rescue(task fleet.Task) fleet.Event {
	b.Helper()
	var event fleet.Event
	rescued, err := b.store.Update(b.ctx, b.fence(task), func(t fleet.Task) (fleet.Change, error) {
		change, err := fleet.Rescue(t, time.Now().UTC().Truncate(time.Microsecond))
		event = change.Event
		return change, err
	})
	if err != nil || rescued.Status != fleet.Retrying || rescued.Attempt != task.Attempt+1 {
		b.Fatalf("rescuing: %s, attempt %d, %v; want the next attempt", rescued.Status, rescued.Attempt, err)
	}
	return event
}

func eventsCommitted(b *bench, told *audience) {
	_, work := handing()
	before := announced(alice)
	task := b.walk(b.admitAnnounced(before), fleet.Spawning, fleet.Running)
	rescued := b.rescue(task)
	b.start(2, work)
	b.wantEvents(told, before.Event, rescued)
	after := announced(bob)
	b.admitAnnounced(after)
	b.wantEvents(told, after.Event)
}

func eventsNotCommitted(b *bench, told *audience) {
	first := announced(alice)
	first.IdempotencyKey = "k"
	task := b.admitAnnounced(first)
	_, work := handing()
	b.start(2, work)
	b.wantEvents(told, first.Event)

	if a, err := b.store.Admit(b.ctx, announced(alice), limited(0, 1)); err != nil || a.Decision.Admit {
		b.Fatalf("Admit = %+v, %v; want a denial", a.Decision, err)
	}
	replay := announced(alice)
	replay.IdempotencyKey = "k"
	if a, err := b.store.Admit(b.ctx, replay, admitAt(1)); err != nil || !a.Replayed {
		b.Fatalf("Admit with the same key = %+v, %v; want a replay", a, err)
	}
	replay.Task.ContextHash = hashOf("other")
	if _, err := b.store.Admit(b.ctx, replay, admitAt(1)); !errors.Is(err, fleet.ErrIdempotencyConflict) {
		b.Fatalf("Admit with other content: %v, want ErrIdempotencyConflict", err)
	}
	refusal := errors.New("no")
	change := func(err error) func(fleet.Task) (fleet.Change, error) {
		return func(t fleet.Task) (fleet.Change, error) {
			event := first.Event
			event.Type = fleet.AgentFailed
			return fleet.Change{Task: t, Event: event}, err
		}
	}
	if _, err := b.store.Update(b.ctx, b.fence(task), change(refusal)); !errors.Is(err, refusal) {
		b.Fatalf("Update: %v, want the change's own error", err)
	}
	later := b.fence(task)
	later.Attempt++
	if _, err := b.store.Update(b.ctx, later, change(nil)); !errors.Is(err, fleet.ErrFenced) {
		b.Fatalf("Update: %v, want ErrFenced", err)
	}
	b.walk(task, fleet.Spawning) // Has nothing to tell.

	last := announced(bob)
	b.admitAnnounced(last)
	b.wantEvents(told, last.Event)
	for quiet := false; !quiet; {
		select {
		case e := <-told.events:
			b.wantExpected(told, e)
		case <-time.After(aMoment):
			quiet = true
		}
	}
}

func eventsAgain(b *bench, told *audience) {
	told.refusals.Store(1)
	in := announced(alice)
	b.admitAnnounced(in)
	_, work := handing()
	b.start(1, work)
	b.wantEvents(told, in.Event)
}
