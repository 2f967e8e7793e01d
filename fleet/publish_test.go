package fleet_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
	"dixie/fleet/memory"
)

// publishing is a store that publishes events itself: it has them where it commits.
type publishing struct {
	*memory.Store

	kept events
}

func (p *publishing) Publishes() bool { return true }

func (p *publishing) Admit(ctx context.Context, in fleet.NewTask, decide func(fleet.Snapshot) fleet.Decision) (fleet.Admission, error) {
	a, err := p.Store.Admit(ctx, in, decide)
	if err == nil && a.Decision.Admit {
		p.kept.add(ctx, in.Event)
	}
	return a, err
}

func (p *publishing) Update(ctx context.Context, target fleet.Target, change func(fleet.Task) (fleet.Change, error)) (fleet.Task, error) {
	var event fleet.Event
	task, err := p.Store.Update(ctx, target, func(t fleet.Task) (fleet.Change, error) {
		c, err := change(t)
		event = c.Event
		return c, err
	})
	if err == nil && event.Type != "" {
		p.kept.add(ctx, event)
	}
	return task, err
}

// everyEvent makes each kind of event happen, to one task after the other.
func everyEvent(t *testing.T, b *bundle) {
	t.Helper()
	retries := 1
	failing := request()
	failing.Description, failing.MaxRetries = "fail", &retries
	b.spawn(failing)
	b.pass(time.Hour)

	done := request()
	done.Description, done.Model = "complete", "gemini-2.5-pro"
	b.spawn(done)
	b.pass(time.Second)

	merged := request()
	merged.Description = "merge"
	task := b.spawn(merged)
	b.pass(time.Second)
	for _, to := range []fleet.Status{fleet.Reviewing, fleet.Ready, fleet.Merged} {
		if _, err := b.Advance(t.Context(), owner(), task.ID, to); err != nil {
			t.Fatalf("Advance: %v", err)
		}
	}

	var hanging []fleet.Task
	for range 3 {
		hanging = append(hanging, b.spawn(request()))
		b.pass(time.Second)
	}
	if _, err := b.Spawn(t.Context(), request()); !errors.As(err, new(*fleet.DeniedError)) {
		t.Errorf("Spawn: %v, want a denial", err)
	}
	for _, task := range hanging {
		if _, err := b.Stop(t.Context(), owner(), task.ID); err != nil {
			t.Fatalf("Stop: %v", err)
		}
	}
	b.pass(time.Second)
}

// told is an event without what is new with each run.
func told(e fleet.Event) fleet.Event {
	return fleet.Event{
		Type: e.Type, TaskType: e.TaskType, AgentType: e.AgentType, Tier: e.Tier, Model: e.Model,
		RoutingReason: e.RoutingReason, Reason: e.Reason, RetryCount: e.RetryCount,
	}
}

func TestEventsAreToldByOneSide(t *testing.T) {
	t.Parallel()
	run := func(ctx context.Context, job fleet.Job, report fleet.Report) error {
		switch job.Task.Description {
		case "fail":
			return &fleet.RunError{Reason: "exit"}
		case "complete":
			return nil
		case "merge":
			return openPR(ctx, job, report)
		default:
			return hang(ctx, job, report)
		}
	}
	event := func(kind fleet.EventType, change func(*fleet.Event)) fleet.Event {
		e := fleet.Event{Type: kind, TaskType: "bug_fix", AgentType: fleet.ClaudeCode, Tier: "architect", Model: "claude-opus-4-6"}
		if kind == fleet.AgentSpawned {
			e.RoutingReason = "task_type"
		}
		if change != nil {
			change(&e)
		}
		return e
	}
	gemini := func(e *fleet.Event) { e.AgentType, e.Model = fleet.Gemini, "gemini-2.5-pro" }
	exit := func(e *fleet.Event) { e.Reason, e.RetryCount = "exit", 1 }
	want := []fleet.Event{
		event(fleet.AgentSpawned, nil), event(fleet.AgentRetrying, exit), event(fleet.AgentFailed, exit),
		event(fleet.AgentSpawned, func(e *fleet.Event) { gemini(e); e.RoutingReason = "requested" }), event(fleet.AgentCompleted, gemini),
		event(fleet.AgentSpawned, nil), event(fleet.AgentCompleted, nil),
		event(fleet.AgentSpawned, nil), event(fleet.AgentSpawned, nil), event(fleet.AgentSpawned, nil),
		event(fleet.SpawnDenied, func(e *fleet.Event) { e.Reason = "tier_limit_exceeded" }),
		event(fleet.AgentCancelled, nil), event(fleet.AgentCancelled, nil), event(fleet.AgentCancelled, nil),
	}
	const denial = 10
	check := func(t *testing.T, by string, want, got []fleet.Event) {
		t.Helper()
		var short []fleet.Event
		for _, e := range got {
			short = append(short, told(e))
			if e.Operator != alice || e.At.IsZero() || (e.TaskID == "") != (e.Type == fleet.SpawnDenied) || (e.Branch == "") != (e.TaskID == "") {
				t.Errorf("%s was told %+v", by, e)
			}
		}
		if diff := cmp.Diff(want, short); diff != "" {
			t.Errorf("%s was told (-want +got):\n%s", by, diff)
		}
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		everyEvent(t, b)
		check(t, "the host", want, b.events.all)
		check(t, "who counts", want, b.counted.all)
	})
	store := &publishing{}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		everyEvent(t, b)
		check(t, "the store", append(append([]fleet.Event{}, want[:denial]...), want[denial+1:]...), store.kept.all)
		check(t, "the host", want[denial:denial+1], b.events.all)
		check(t, "who counts", want, b.counted.all)
	}, func(c *fleet.Config) {
		store.Store = memory.New(memory.Config{})
		c.Store = store
	})
}
