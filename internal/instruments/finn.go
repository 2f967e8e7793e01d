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
	var calls []pair
	for _, operation := range []string{"create_session", "session", "send", "stream", "staked"} {
		for _, outcome := range []string{CallAnswered, CallFailed, CallUndecided, CallCircuitOpen, CallHeld} {
			calls = append(calls, pair{operation, outcome})
		}
	}
	i.callDuration = b.timing("dixie.finn.call.duration", "Time of a call to Finn, by what it said about Finn.",
		keys{"operation", outcomeKey}, calls...)
}

// CircuitChanged counts a change of the breaker by its new state.
func (i *Instruments) CircuitChanged(state string) {
	if i != nil {
		i.transitions.add(context.Background(), 1, pair{state})
	}
}

// FinnCalled records a call to Finn, by the operation as package finn names it.
func (i *Instruments) FinnCalled(operation, outcome string, took time.Duration) {
	if i != nil {
		i.callDuration.record(context.Background(), took.Seconds(), pair{operation, outcome})
	}
}
