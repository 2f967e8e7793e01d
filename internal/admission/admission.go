// Package admission lets the fleet ask governance: it translates between the two, so that neither knows
// the other. It has no rules of its own.
package admission

import (
	"dixie/fleet"
	"dixie/governance"
)

// Policy is a governance policy as a fleet.Policy. It is a pure function, safe for concurrent use.
type Policy struct{ policy *governance.Policy }

var _ fleet.Policy = Policy{}

// New adapts a policy.
func New(policy *governance.Policy) Policy { return Policy{policy} }

// Decide implements fleet.Policy. A tier that is not known counts as the lowest.
func (p Policy) Decide(r fleet.Request, s fleet.Snapshot) fleet.Decision {
	tier, err := governance.ParseTier(r.Tier)
	if err != nil {
		tier = governance.Observer
	}
	d := p.policy.Decide(
		governance.Request{Operator: r.Operator, Tier: tier, TaskType: r.TaskType, DescriptionLength: r.DescriptionLength},
		governance.Snapshot{
			Active: s.Active, RecentTotal: s.RecentTotal, RecentActive: s.RecentActive, SpentMicroUSD: s.SpentMicroUSD,
		},
	)
	return fleet.Decision{
		Admit: d.Admit, Reason: string(d.Reason), WitnessCount: d.WitnessCount, Tier: d.Tier.String(),
		Active: d.Active, Limit: d.Limit,
		BudgetLimit: d.Budget.Limit, BudgetSpent: d.Budget.Spent, BudgetRemaining: d.Budget.Remaining,
		CostMicroUSD: d.CostMicroUSD,
		Cost: fleet.CostBreakdown{
			Base: d.Cost.Base, Utilization: d.Cost.Utilization, Reputation: d.Cost.Reputation,
			Complexity: d.Cost.Complexity, Final: d.Cost.Final, Breakdown: d.Cost.Breakdown,
		},
	}
}
