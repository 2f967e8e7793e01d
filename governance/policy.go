package governance

import "errors"

// DenialReason is the rule that failed.
type DenialReason string

// The reasons, in the order in which the standard witnesses judge.
const (
	TierNotPermitted  DenialReason = "tier_not_permitted"
	TierLimitExceeded DenialReason = "tier_limit_exceeded"
	BudgetExceeded    DenialReason = "budget_exceeded"
)

// Request is what is to be admitted.
type Request struct {
	Operator string
	Tier     Tier
	TaskType string
	// DescriptionLength is in characters; only it counts, for the price.
	DescriptionLength int
}

// Snapshot is what was counted for the operator, all at one moment.
type Snapshot struct {
	// Active is the number of active tasks.
	Active int
	// RecentTotal counts the tasks of the last 24 hours, RecentActive the active ones among them.
	RecentTotal  int
	RecentActive int
	// SpentMicroUSD is what was spent on this UTC day.
	SpentMicroUSD int64
}

// Budget is an operator's money for a UTC day, in micro-USD.
type Budget struct {
	Limit, Spent, Remaining int64
}

// Verdict is what one witness says.
type Verdict struct {
	Admit bool
	// Reason is empty when admitted.
	Reason DenialReason
}

// Case is what a witness judges.
type Case struct {
	Request  Request
	Snapshot Snapshot
	Budget   Budget
	// CostMicroUSD is the price of what is asked for.
	CostMicroUSD int64
}

// Witness judges one aspect. It is a pure function: same case, same verdict.
type Witness interface {
	Name() string
	Judge(c Case) Verdict
}

// TierWitness denies tiers that may have no task at all.
type TierWitness struct{}

// Name implements [Witness].
func (TierWitness) Name() string { return "tier" }

// Judge implements [Witness].
func (TierWitness) Judge(c Case) Verdict {
	return unless(c.Request.Tier.FleetLimit() > 0, TierNotPermitted)
}

// ConcurrencyWitness denies more active tasks than the tier allows.
type ConcurrencyWitness struct{}

// Name implements [Witness].
func (ConcurrencyWitness) Name() string { return "concurrency" }

// Judge implements [Witness].
func (ConcurrencyWitness) Judge(c Case) Verdict {
	return unless(c.Snapshot.Active < c.Request.Tier.FleetLimit(), TierLimitExceeded)
}

// BudgetWitness denies what costs more than is left of the day's budget.
type BudgetWitness struct{}

// Name implements [Witness].
func (BudgetWitness) Name() string { return "budget" }

// Judge implements [Witness].
func (BudgetWitness) Judge(c Case) Verdict {
	return unless(c.CostMicroUSD <= c.Budget.Remaining, BudgetExceeded)
}

func unless(fine bool, reason DenialReason) Verdict {
	if fine {
		return Verdict{Admit: true}
	}
	return Verdict{Reason: reason}
}

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
	// Witnesses judge; nil is tier, concurrency and budget.
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
	if cfg.Witnesses == nil {
		cfg.Witnesses = []Witness{TierWitness{}, ConcurrencyWitness{}, BudgetWitness{}}
	}
	return &Policy{budget: cfg.BudgetMicroUSD, witnesses: append([]Witness(nil), cfg.Witnesses...)}, nil
}

// Decide judges a request against what was counted.
func (p *Policy) Decide(r Request, s Snapshot) Decision {
	cost := SpawnCost(r.TaskType, r.DescriptionLength, Utilization(s.RecentActive, s.RecentTotal))
	c := Case{
		Request: r, Snapshot: s, CostMicroUSD: cost.MicroUSD(),
		Budget: Budget{Limit: p.budget, Spent: s.SpentMicroUSD, Remaining: max(0, p.budget-max(0, s.SpentMicroUSD))},
	}
	d := Decision{
		Admit: true, WitnessCount: len(p.witnesses), Tier: r.Tier, Active: s.Active, Limit: r.Tier.FleetLimit(),
		Budget: c.Budget, Cost: cost, CostMicroUSD: c.CostMicroUSD,
	}
	for _, w := range p.witnesses {
		if v := w.Judge(c); !v.Admit && d.Admit {
			d.Admit, d.Reason = false, v.Reason
		}
	}
	return d
}
