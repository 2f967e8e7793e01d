package governance_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/governance"
)

func newPolicy(tb testing.TB, budget int64) *governance.Policy {
	tb.Helper()
	p, err := governance.NewPolicy(governance.PolicyConfig{BudgetMicroUSD: budget})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestDecide(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, 100_000)
	for _, tc := range []struct {
		tier   governance.Tier
		active int
		spent  int64
		reason governance.DenialReason
	}{
		{governance.Observer, 0, 0, governance.TierNotPermitted},
		{governance.Participant, 9, 100_000, governance.TierNotPermitted},
		{governance.Builder, 0, 0, ""},
		{governance.Builder, 1, 0, governance.TierLimitExceeded},
		{governance.Architect, 2, 0, ""},
		{governance.Architect, 3, 100_000, governance.TierLimitExceeded},
		{governance.Architect, 0, 93_000, ""},
		{governance.Architect, 0, 93_001, governance.BudgetExceeded},
		{governance.Sovereign, 9, 0, ""},
		{governance.Sovereign, 10, 0, governance.TierLimitExceeded},
	} {
		d := p.Decide(governance.Request{Tier: tc.tier, TaskType: "feature"}, governance.Snapshot{Active: tc.active, SpentMicroUSD: tc.spent})
		if d.Reason != tc.reason || d.Admit != (tc.reason == "") || d.WitnessCount != 3 {
			t.Errorf("%+v: %+v", tc, d)
		}
	}
}

func TestDecisionShowsWhatWasCounted(t *testing.T) {
	t.Parallel()
	got := newPolicy(t, 10_000).Decide(
		governance.Request{Tier: governance.Architect, TaskType: "docs", DescriptionLength: 500},
		governance.Snapshot{Active: 2, SpentMicroUSD: 4000},
	)
	want := governance.Decision{
		Admit: true, WitnessCount: 3, Tier: governance.Architect, Active: 2, Limit: 3,
		Budget:       governance.Budget{Limit: 10_000, Spent: 4000, Remaining: 6000},
		Cost:         governance.SpawnCost("docs", 500, governance.Utilization(0, 0)),
		CostMicroUSD: 4900,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
}

func TestBudgetIsNeverBelowZero(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		limit, spent int64
		want         governance.Budget
	}{
		{0, 0, governance.Budget{}},
		{1000, 1000, governance.Budget{Limit: 1000, Spent: 1000}},
		{1000, 2500, governance.Budget{Limit: 1000, Spent: 2500}}, // The limit was lowered.
		{1000, math.MaxInt64, governance.Budget{Limit: 1000, Spent: math.MaxInt64}},
		{math.MaxInt64, math.MinInt64, governance.Budget{Limit: math.MaxInt64, Remaining: math.MaxInt64}},
	} {
		got := newPolicy(t, tc.limit).Decide(governance.Request{}, governance.Snapshot{SpentMicroUSD: tc.spent})
		if diff := cmp.Diff(tc.want, got.Budget); diff != "" {
			t.Errorf("%d of %d spent (-want +got):\n%s", tc.spent, tc.limit, diff)
		}
	}
}

// TestADayInAnIdleFleet spends the default budget on features that end before the next one begins.
func TestADayInAnIdleFleet(t *testing.T) {
	t.Parallel()
	p, s, spawns := newPolicy(t, 100_000), governance.Snapshot{}, 0
	for {
		d := p.Decide(governance.Request{Tier: governance.Builder, TaskType: "feature"}, s)
		if !d.Admit {
			if d.Reason != governance.BudgetExceeded {
				t.Errorf("denied for %q", d.Reason)
			}
			break
		}
		spawns++
		s.SpentMicroUSD += d.CostMicroUSD
		s.RecentTotal++
	}
	if spawns != 14 {
		t.Errorf("%d spawns in a day, want 14", spawns)
	}
}

// deny is a witness that denies everything, for the reason that it is.
type deny governance.DenialReason

func (deny) Name() string { return "deny" }

func (d deny) Judge(governance.Case) governance.Verdict {
	return governance.Verdict{Reason: governance.DenialReason(d)}
}

// see is a witness that admits everything and remembers what it was asked.
type see struct{ cases *[]governance.Case }

func (see) Name() string { return "see" }

func (s see) Judge(c governance.Case) governance.Verdict {
	*s.cases = append(*s.cases, c)
	return governance.Verdict{Admit: true, Reason: "none, it admits"}
}

func TestWitnesses(t *testing.T) {
	t.Parallel()
	standard := []governance.Witness{governance.TierWitness{}, governance.ConcurrencyWitness{}, governance.BudgetWitness{}}
	var seen []governance.Case
	for name, tc := range map[string]struct {
		witnesses []governance.Witness
		tier      governance.Tier
		count     int
		reason    governance.DenialReason
	}{
		"one more denies":              {append(standard[:3:3], deny("too_late")), governance.Builder, 4, "too_late"},
		"the first denial counts":      {append(standard[:3:3], deny("too_late")), governance.Observer, 4, governance.TierNotPermitted},
		"a reason that is not given":   {[]governance.Witness{deny("")}, governance.Builder, 1, "deny"},
		"all are asked after a denial": {[]governance.Witness{deny("no"), see{&seen}}, governance.Builder, 2, "no"},
		"an admission has no reason":   {[]governance.Witness{see{new([]governance.Case)}}, governance.Observer, 1, ""},
		"an empty list is the default": {[]governance.Witness{}, governance.Observer, 3, governance.TierNotPermitted},
	} {
		p, err := governance.NewPolicy(governance.PolicyConfig{BudgetMicroUSD: 100_000, Witnesses: tc.witnesses})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d := p.Decide(governance.Request{Operator: "w", Tier: tc.tier, TaskType: "docs"}, governance.Snapshot{Active: 0, SpentMicroUSD: 1})
		if d.Reason != tc.reason || d.Admit != (tc.reason == "") || d.WitnessCount != tc.count {
			t.Errorf("%s: %+v", name, d)
		}
	}
	want := []governance.Case{{
		Request:      governance.Request{Operator: "w", Tier: governance.Builder, TaskType: "docs"},
		Snapshot:     governance.Snapshot{SpentMicroUSD: 1},
		Budget:       governance.Budget{Limit: 100_000, Spent: 1, Remaining: 99_999},
		CostMicroUSD: 4900,
	}}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("what a witness is asked (-want +got):\n%s", diff)
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]governance.PolicyConfig{
		"a negative budget":     {BudgetMicroUSD: -1},
		"a witness that is not": {Witnesses: []governance.Witness{governance.TierWitness{}, nil}},
		"nothing but that":      {Witnesses: []governance.Witness{nil}},
	} {
		if _, err := governance.NewPolicy(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestPolicyKeepsItsWitnesses(t *testing.T) {
	t.Parallel()
	mine := []governance.Witness{deny("no")}
	p, err := governance.NewPolicy(governance.PolicyConfig{Witnesses: mine})
	if err != nil {
		t.Fatal(err)
	}
	mine[0] = see{new([]governance.Case)}
	if p.Decide(governance.Request{}, governance.Snapshot{}).Admit {
		t.Error("a change of the caller's slice reached the policy")
	}
}

func TestAnAdmissionKeepsEveryLimit(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, 50_000)
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		r := governance.Request{
			Tier:     governance.Tier(random.IntN(5)),
			TaskType: []string{"bug_fix", "feature", "docs"}[random.IntN(3)], DescriptionLength: random.IntN(2000),
		}
		total := random.IntN(20)
		s := governance.Snapshot{
			Active: random.IntN(12), RecentTotal: total, RecentActive: random.IntN(total + 1), SpentMicroUSD: random.Int64N(60_000),
		}
		d := p.Decide(r, s)
		if d.Admit && (s.Active >= r.Tier.FleetLimit() || s.SpentMicroUSD+d.CostMicroUSD > 50_000) {
			t.Fatalf("%+v %+v: %+v", r, s, d)
		}
		s.Active++
		s.SpentMicroUSD++
		if !d.Admit && p.Decide(r, s).Admit {
			t.Fatalf("more tasks and less money made it admissible: %+v %+v", r, s)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p := newPolicy(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(governance.Request{Tier: governance.Architect, TaskType: "feature", DescriptionLength: 100}, governance.Snapshot{Active: 1})
	}
}
