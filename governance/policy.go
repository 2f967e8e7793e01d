package governance

import (
	"cmp"
	"errors"
	"slices"
)

// Decision is what a [Policy] says.
type Decision struct {
	Admit bool
	// Reason is that of the first witness that denied; empty when admitted.
	Reason DenialReason
	// WitnessCount is how many judged: all of them, always.
	WitnessCount int
	Tier         Tier
	// Active and Limit are the operator's tasks, without the one asked for, and how many it may have.
	Active, Limit int
	// Budget is without the cost of what is asked for.
	Budget       Budget
	Cost         Cost
	CostMicroUSD int64
}

// PolicyConfig says by what a [Policy] judges.
type PolicyConfig struct {
	// BudgetMicroUSD is each operator's budget for a UTC day; 0 is a budget of nothing.
	BudgetMicroUSD int64
	// Witnesses judge; none is tier, concurrency and budget.
	Witnesses []Witness
}

// Policy is a list of witnesses: one denial denies. It is a pure function, safe for concurrent use; the
// dry run and the admission ask the same one.
type Policy struct {
	budget    int64
	witnesses []Witness
}

// NewPolicy checks the configuration.
func NewPolicy(cfg PolicyConfig) (*Policy, error) {
	if cfg.BudgetMicroUSD < 0 {
		return nil, errors.New("governance: the budget is negative")
	}
	if slices.Contains(cfg.Witnesses, nil) {
		return nil, errors.New("governance: a witness is nil")
	}
	// Also for a list that is empty and not nil: without a witness everything would be admitted.
	if len(cfg.Witnesses) == 0 {
		cfg.Witnesses = []Witness{TierWitness{}, ConcurrencyWitness{}, BudgetWitness{}}
	}
	return &Policy{budget: cfg.BudgetMicroUSD, witnesses: slices.Clone(cfg.Witnesses)}, nil
}

// Decide judges a request against what was counted.
func (p *Policy) Decide(r Request, s Snapshot) Decision {
	cost := SpawnCost(r.TaskType, r.DescriptionLength, Utilization(s.RecentActive, s.RecentTotal))
	c := Case{
		Request: r, Snapshot: s, CostMicroUSD: cost.MicroUSD(), Budget: newBudget(p.budget, s.SpentMicroUSD),
	}
	d := Decision{
		Admit: true, WitnessCount: len(p.witnesses), Tier: r.Tier, Active: s.Active, Limit: r.Tier.FleetLimit(),
		Budget: c.Budget, Cost: cost, CostMicroUSD: c.CostMicroUSD,
	}
	for _, w := range p.witnesses {
		if v := w.Judge(c); !v.Admit && d.Admit {
			// A denial without a reason would look like an admission to whoever goes by the reason.
			d.Admit, d.Reason = false, cmp.Or(v.Reason, DenialReason(w.Name()))
		}
	}
	return d
}
