package governance

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

// Verdict is what one witness says.
type Verdict struct {
	Admit bool
	// Reason is empty when admitted. For a denial without one the witness's name stands in.
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

// Witness judges one aspect. It is a pure function: same case, same verdict. Implementations are safe for
// concurrent use.
type Witness interface {
	// Name stands in for the reason that a denial does not give.
	Name() string
	// Judge says whether the case may be admitted. Every witness is asked, whatever the others said.
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
