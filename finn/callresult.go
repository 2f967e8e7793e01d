package finn

import "time"

// CallOutcome is what a call said about Finn.
type CallOutcome int

// The outcomes.
const (
	// CallUndecided says nothing: the caller left, or gave too little time.
	CallUndecided CallOutcome = iota
	// CallAnswered is an answer of Finn, be it a refusal.
	CallAnswered
	// CallFailed is no answer, or a fault of the server: it counts for the
	// breaker, but for OperationStaked.
	CallFailed
	// CallCircuitOpen was refused by the breaker.
	CallCircuitOpen
	// CallHeld was held back because Finn has asked to wait.
	CallHeld
)

// The operations, each named after its method of the [Client].
const (
	OperationCreateSession = "create_session"
	OperationSession       = "session"
	OperationSend          = "send"
	OperationStream        = "stream"
	OperationStaked        = "staked"
)

// CallResult is how a call ended.
type CallResult struct {
	// Operation is one of the constants.
	Operation string
	Outcome   CallOutcome
	// Took is the time until that was known. A stream that is the probe of a
	// half-open circuit is known to be answered by its first event.
	Took time.Duration
}

func callOutcome(o outcome) CallOutcome {
	switch o {
	case succeeded:
		return CallAnswered
	case failed:
		return CallFailed
	case excluded:
		return CallUndecided
	default:
		return CallUndecided
	}
}

// tellCall tells of a call, if anybody listens.
func (c *Client) tellCall(operation string, o CallOutcome, took time.Duration) {
	if c.onCall != nil {
		c.onCall(CallResult{Operation: operation, Outcome: o, Took: took})
	}
}
