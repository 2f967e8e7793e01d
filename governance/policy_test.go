package governance_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/governance"
)

func TestSpawnCost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		taskType string
		length   int
		share    governance.Share
		units    float64
		micro    int64
	}{
		{"bug_fix", 18, governance.Share{}, 0.8, 8000},
		{"bug_fix", 18, governance.Utilization(1, 2), 0.8, 8000},
		{"feature", 2000, governance.Utilization(96, 100), 4.2, 42000},
		{"docs", 500, governance.Utilization(0, 0), 0.49, 4900},
		{"docs", 501, governance.Utilization(0, 10), 0.63, 6300},
		{"feature", 10, governance.Utilization(0, 0), 0.7, 7000},
		{"review", 10, governance.Utilization(85, 100), 0.9, 9000},
		{"feature", 20000, governance.Utilization(1, 1), 4.2, 42000},
	} {
		got := governance.SpawnCost(tc.taskType, tc.length, tc.share)
		if got.Final != tc.units || got.MicroUSD() != tc.micro {
			t.Errorf("%+v: %v units, %d micro-USD", tc, got.Final, got.MicroUSD())
		}
	}
	want := "base=1 | utilization=1x (50.0% used) | reputation=1.000x | complexity=0.8x (bug_fix, 18 chars) | raw=0.8000 | floor=0.1 | final=0.8000"
	if diff := cmp.Diff(want, governance.SpawnCost("bug_fix", 18, governance.Utilization(1, 2)).Breakdown); diff != "" {
		t.Error(diff)
	}
}

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
	if _, err := governance.NewPolicy(governance.PolicyConfig{BudgetMicroUSD: -1}); err == nil {
		t.Error("a negative budget was accepted")
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
