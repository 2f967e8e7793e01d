package governance

// Budget is an operator's money for a UTC day, in micro-USD. No amount is below zero.
type Budget struct {
	Limit, Spent, Remaining int64
}

// newBudget is what is left. More may have been spent than there is, when the limit was lowered.
func newBudget(limit, spent int64) Budget {
	spent = max(0, spent)
	return Budget{Limit: limit, Spent: spent, Remaining: max(0, limit-spent)}
}
