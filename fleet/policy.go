package fleet

// Request is what a [Policy] judges.
type Request struct {
	Operator string
	Tier     string
	TaskType string
	// DescriptionLength is in characters.
	DescriptionLength int
}

// Snapshot is what a store counted for an operator, all at one moment.
type Snapshot struct {
	// Active is the number of the operator's active tasks.
	Active int
	// RecentTotal and RecentActive count the operator's tasks of the last 24 hours, and the active ones
	// among them.
	RecentTotal  int
	RecentActive int
	// SpentMicroUSD is what the operator's tasks of this UTC day were charged, less what was released.
	SpentMicroUSD int64
}

// Decision is what a [Policy] made of a [Request]. Amounts are micro-USD.
type Decision struct {
	Admit bool
	// Reason is the first rule that failed; empty when admitted.
	Reason string
	// WitnessCount is how many rules judged.
	WitnessCount int
	Tier         string
	// Active and Limit are the operator's active tasks, without the one asked for, and its limit.
	Active int
	Limit  int
	// BudgetLimit, BudgetSpent and BudgetRemaining are those of the UTC day, without the cost of the
	// task asked for. In a [Spawned] they include it.
	BudgetLimit     int64
	BudgetSpent     int64
	BudgetRemaining int64
	// CostMicroUSD is what the task costs.
	CostMicroUSD int64
	Cost         CostBreakdown
}

// CostBreakdown is how a cost came about, in units.
type CostBreakdown struct {
	Base        float64
	Utilization float64
	Reputation  float64
	Complexity  float64
	Final       float64
	// Breakdown is the same as text.
	Breakdown string
}

// Policy decides who may spawn. Decide is called while the store holds the operator's lock: it must be
// a pure function of its arguments, quick, and safe for concurrent use.
type Policy interface {
	Decide(asked Request, counted Snapshot) Decision
}
