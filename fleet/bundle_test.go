package fleet_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dixie/fleet"
	"dixie/fleet/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	alice = "0xA11CE00000000000000000000000000000000001"
	bob   = "0xB0B0000000000000000000000000000000000002"
)

// limitPolicy admits three active tasks at a time and takes 4,000 of 100,000 micro-USD for each.
type limitPolicy struct{}

func (limitPolicy) Decide(r fleet.Request, s fleet.Snapshot) fleet.Decision {
	const limit, budget, cost = 3, 100_000, 4000
	d := fleet.Decision{
		Admit: true, WitnessCount: 2, Tier: r.Tier, Active: s.Active, Limit: limit, CostMicroUSD: cost,
		BudgetLimit: budget, BudgetSpent: s.SpentMicroUSD, BudgetRemaining: max(0, budget-s.SpentMicroUSD),
		Cost: fleet.CostBreakdown{Base: 1, Final: float64(r.DescriptionLength)},
	}
	switch {
	case s.Active >= limit:
		d.Admit, d.Reason = false, "tier_limit_exceeded"
	case cost > d.BudgetRemaining:
		d.Admit, d.Reason = false, "budget_exceeded"
	}
	return d
}

// events collects what the hook is told.
type events struct {
	mu  sync.Mutex
	all []fleet.Event
}

func (e *events) add(_ context.Context, event fleet.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

func (e *events) types() []fleet.EventType {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []fleet.EventType
	for _, event := range e.all {
		out = append(out, event.Type)
	}
	return out
}

// bundle is a service in a bubble of fake time.
type bundle struct {
	*fleet.Service

	t      *testing.T
	store  fleet.Store
	events *events
	// counted are those that Count was told.
	counted *events
}

// inBubble runs a test with a started service, whose runner is the function, and closes it.
func inBubble(t *testing.T, run fleet.RunnerFunc, test func(*testing.T, *bundle), change ...func(*fleet.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bundle{t: t, events: &events{}, counted: &events{}}
		cfg := fleet.Config{
			Store: memory.New(memory.Config{}), Runner: run, Policy: limitPolicy{}, OnEvent: b.events.add, Count: b.counted.add,
			RetryDelay: func(retries int) time.Duration { return fleet.RetryDelay(retries, 0) },
		}
		for _, c := range change {
			c(&cfg)
		}
		service, err := fleet.New(cfg)
		if err != nil {
			t.Fatalf("New: %v", err)
		}
		b.Service, b.store = service, cfg.Store
		if err := service.Start(t.Context()); err != nil {
			t.Fatalf("Start: %v", err)
		}
		test(t, b)
		if err := service.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func request() fleet.SpawnRequest {
	return fleet.SpawnRequest{
		Operator: alice, Tier: "architect", Description: "Fix the door", TaskType: "bug_fix", Repository: "acme/house",
	}
}

func owner() fleet.Scope { return fleet.Scope{Operator: alice} }

func (b *bundle) spawn(r fleet.SpawnRequest) fleet.Task {
	b.t.Helper()
	spawned, err := b.Spawn(b.t.Context(), r)
	if err != nil {
		b.t.Fatalf("Spawn: %v", err)
	}
	return spawned.Task
}

func (b *bundle) get(id string) fleet.Task {
	b.t.Helper()
	task, err := b.Task(b.t.Context(), owner(), id)
	if err != nil {
		b.t.Fatalf("Task: %v", err)
	}
	return task
}

// settled is the task once nothing moves without time passing.
func (b *bundle) settled(id string) fleet.Task {
	b.t.Helper()
	synctest.Wait()
	return b.get(id)
}

func (b *bundle) want(task fleet.Task, status fleet.Status) {
	b.t.Helper()
	if task.Status != status {
		b.t.Errorf("the task is %s, want %s", task.Status, status)
	}
}

func (b *bundle) log(id string) []string {
	b.t.Helper()
	lines, err := b.Logs(b.t.Context(), owner(), id, 100)
	if err != nil {
		b.t.Fatalf("Logs: %v", err)
	}
	return lines
}

func (b *bundle) spent() int64 {
	b.t.Helper()
	s, err := b.store.Snapshot(b.t.Context(), alice, time.Now())
	if err != nil {
		b.t.Fatalf("Snapshot: %v", err)
	}
	return s.SpentMicroUSD
}

// pass lets time go by within a runner.
func pass(d time.Duration) {
	time.Sleep(d) // fake clock
}

// pass lets time go by and everything settle.
func (b *bundle) pass(d time.Duration) {
	pass(d)
	synctest.Wait()
}

// Runners of the tests.

func doNothing(context.Context, fleet.Job, fleet.Report) error { return nil }

// hang starts and works until it is interrupted.
func hang(ctx context.Context, _ fleet.Job, report fleet.Report) error {
	report.Started("hanging")
	<-ctx.Done()
	return context.Cause(ctx)
}

// panics fails like a bug: a job without overrides has no map to write to.
func panics(_ context.Context, job fleet.Job, _ fleet.Report) error {
	job.Task.ContextOverrides["x"] = "y"
	return nil
}

var errOuch = errors.New("ouch")
