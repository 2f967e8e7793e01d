package governance_test

import (
	"context"
	"fmt"
	"time"

	"dixie/governance"
)

// A dry run and an admission are the same call; what follows from it is committed by whoever asks.
func ExamplePolicy_Decide() {
	policy, err := governance.NewPolicy(governance.PolicyConfig{BudgetMicroUSD: 10_000})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := governance.Request{Operator: "alice", Tier: governance.Architect, TaskType: "docs", DescriptionLength: 120}
	counted := governance.Snapshot{Active: 1, RecentTotal: 10, SpentMicroUSD: 2000}
	for range 2 {
		decision := policy.Decide(request, counted)
		fmt.Println(decision.Admit, decision.Reason, decision.CostMicroUSD, "of", decision.Budget.Remaining)
		if decision.Admit {
			counted.Active++
			counted.SpentMicroUSD += decision.CostMicroUSD
		}
	}
	// Output:
	// true  4900 of 8000
	// false budget_exceeded 4900 of 3100
}

// reviewsOnly admits nothing but reviews.
type reviewsOnly struct{}

func (reviewsOnly) Name() string { return "reviews_only" }

func (w reviewsOnly) Judge(c governance.Case) governance.Verdict {
	if c.Request.TaskType == "review" {
		return governance.Verdict{Admit: true}
	}
	return governance.Verdict{Reason: governance.DenialReason(w.Name())}
}

// A witness of one's own joins the standard ones, which would otherwise be missing.
func ExampleWitness() {
	policy, err := governance.NewPolicy(governance.PolicyConfig{
		BudgetMicroUSD: 100_000,
		Witnesses: []governance.Witness{
			governance.TierWitness{}, governance.ConcurrencyWitness{}, governance.BudgetWitness{}, reviewsOnly{},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, taskType := range []string{"feature", "review"} {
		decision := policy.Decide(governance.Request{Tier: governance.Builder, TaskType: taskType}, governance.Snapshot{})
		fmt.Println(taskType, decision.Admit, decision.Reason, decision.WitnessCount)
	}
	// Output:
	// feature false reviews_only 4
	// review true  4
}

// A price says how it came about.
func ExampleSpawnCost() {
	cost := governance.SpawnCost("docs", 501, governance.Utilization(1, 10))
	fmt.Println(cost.MicroUSD(), "micro-USD")
	fmt.Println(cost.Breakdown)
	// Output:
	// 6300 micro-USD
	// base=1 | utilization=0.7x (10.0% used) | reputation=1.000x | complexity=0.9x (docs, 501 chars) | raw=0.6300 | floor=0.1 | final=0.6300
}

// A refusal can tell how far the caller is from what the route needs.
func ExampleTierGap() {
	gap := governance.TierGap(governance.Builder, governance.Architect)
	fmt.Println(gap.Codes, *gap.TrustScoreGap)
	// Output: [TRUST_SCORE_BELOW_THRESHOLD] 0.3
}

// fixedStake is what every wallet has staked.
type fixedStake float64

func (s fixedStake) Staked(context.Context, string) (float64, error) { return float64(s), nil }

// A resolver asks its source, and remembers the answer.
func ExampleResolver() {
	resolver := governance.NewResolver(governance.ResolverConfig{Stakes: fixedStake(250), TTL: time.Minute})
	found := resolver.Resolve(context.Background(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
	fmt.Println(found.Tier, "from", found.Source, "may run", found.Tier.FleetLimit())
	// Output: builder from freeside may run 1
}
