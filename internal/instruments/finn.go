package instruments

import (
	"context"
	"time"
)

// How a call to Finn ended, as the circuit breaker judged it.
const (
	CallAnswered    = "answered"
	CallFailed      = "failed"
	CallUndecided   = "undecided"
	CallCircuitOpen = "circuit_open"
	CallHeld        = "held"
)

// circuitStates are those of the breaker.
func circuitStates() []string { return []string{"closed", "open", "half-open"} }

func (b *builder) finn(i *Instruments) {
	i.transitions = b.tally("dixie.finn.circuit.transitions", "{transition}", "Changes of the circuit breaker, by the state it came into.",
		keys{"state"}, single(circuitStates()...)...)
	i.callDuration = b.timing("dixie.finn.call.duration", "Time of a call to Finn, by what it said about Finn.",
		"outcome", CallAnswered, CallFailed, CallUndecided, CallCircuitOpen, CallHeld)
}

// CircuitChanged counts a change of the breaker by its new state.
func (i *Instruments) CircuitChanged(state string) {
	if i != nil {
		i.transitions.add(context.Background(), 1, pair{state})
	}
}

// FinnCalled records a call to Finn.
func (i *Instruments) FinnCalled(outcome string, took time.Duration) {
	if i != nil {
		i.callDuration.record(context.Background(), took.Seconds(), outcome)
	}
}
