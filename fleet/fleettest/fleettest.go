// Package fleettest is the conformance suite of [fleet.Store]: what every store must do, whatever keeps
// its tasks. A store's own tests call [Run]; a defect that one of them had becomes a case here. Cases run
// in parallel, each with a store of its own.
package fleettest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/uuid"

	"dixie/fleet"
)

// Run runs the suite. open returns a new, empty store for the test it is given, and cleans up after it.
func Run(t *testing.T, open func(*testing.T) fleet.Store) {
	t.Helper()
	for _, group := range [][]testCase{admissionCases(), ledgerCases(), taskCases(), logCases(), dispatchCases()} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.test(&bench{T: t, ctx: t.Context(), store: open(t)})
			})
		}
	}
}

type testCase struct {
	name string
	test func(*bench)
}

// bench is a store under test.
type bench struct {
	*testing.T

	ctx   context.Context //nolint:containedctx // It is the test's own.
	store fleet.Store
}

// The operators of the suite, and an hour far from midnight.
const (
	alice = "0xA11CE00000000000000000000000000000000001"
	bob   = "0xB0B0000000000000000000000000000000000002"
)

func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

func everyone() fleet.Scope            { return fleet.Scope{All: true} }
func only(operator string) fleet.Scope { return fleet.Scope{Operator: operator} }
func anyTime() time.Time               { return noon() }
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
func admitAt(cost int64) decideFunc { return limited(1000, cost) }
func newID() string                 { return uuid.Must(uuid.NewV7()).String() }
func (b *bench) fence(task fleet.Task) fleet.Target {
	return fleet.Target{Scope: everyone(), ID: task.ID, Attempt: task.Attempt}
}

type decideFunc = func(fleet.Snapshot) fleet.Decision

// limited is a policy that admits while there are fewer active tasks than limit.
func limited(limit int, cost int64) decideFunc {
	return func(s fleet.Snapshot) fleet.Decision {
		d := fleet.Decision{
			Admit: s.Active < limit, Active: s.Active, Limit: limit, CostMicroUSD: cost,
			Cost: fleet.CostBreakdown{Base: 1, Final: 0.5, Breakdown: "half"}, BudgetSpent: s.SpentMicroUSD,
		}
		if !d.Admit {
			d.Reason = "full"
		}
		return d
	}
}

// proposal is a task to admit.
func proposal(operator string, at time.Time) fleet.NewTask {
	id := newID()
	return fleet.NewTask{Task: fleet.Task{
		ID: id, Operator: operator, Tier: "architect", TaskType: "bug_fix",
		Description: "Fix the door", Repository: "acme/house", BaseBranch: "main",
		ContextOverrides: map[string]string{"tool": "hammer"},
		AgentType:        fleet.ClaudeCode, Model: "claude-opus-4-6",
		Branch: "fleet/0123456789ab-01234567", ContextHash: hashOf("Fix the door"),
		Status: fleet.Proposed, Attempt: 1, MaxRetries: 3, Timeout: 2 * time.Hour, PromptTokens: 8000,
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", TraceState: "vendor=1,other@vendor=2",
		CreatedAt: at, UpdatedAt: at,
		History: []fleet.Passage{{Status: fleet.Proposed, At: at}},
	}}
}

// admit admits a task that nothing forbids.
func (b *bench) admit(operator string, at time.Time, cost int64) fleet.Task {
	b.Helper()
	a, err := b.store.Admit(b.ctx, proposal(operator, at), admitAt(cost))
	if err != nil || !a.Decision.Admit {
		b.Fatalf("Admit = %+v, %v; want an admission", a.Decision, err)
	}
	return a.Task
}

// walk takes a task through states, unfenced.
func (b *bench) walk(task fleet.Task, path ...fleet.Status) fleet.Task {
	b.Helper()
	out, err := b.store.Update(b.ctx, fleet.Target{Scope: everyone(), ID: task.ID}, func(t fleet.Task) (fleet.Change, error) {
		moved, err := t.Move(t.UpdatedAt.Add(time.Second), path...)
		return fleet.Change{Task: moved}, err
	})
	if err != nil {
		b.Fatalf("moving a task to %v: %v", path, err)
	}
	return out
}

func (b *bench) snapshot(operator string, at time.Time) fleet.Snapshot {
	b.Helper()
	s, err := b.store.Snapshot(b.ctx, operator, at)
	if err != nil {
		b.Fatalf("Snapshot: %v", err)
	}
	return s
}

func (b *bench) get(scope fleet.Scope, id string) fleet.Task {
	b.Helper()
	task, err := b.store.Get(b.ctx, scope, id)
	if err != nil {
		b.Fatalf("Get: %v", err)
	}
	return task
}
