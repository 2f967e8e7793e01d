package dixie

import (
	"context"

	"dixie/finn"
	"dixie/fleet"
	"dixie/internal/instruments"
	"dixie/reputation"
)

// measureFinn adds to what the caller of WithFinn wants to be told.
func (s *settings) measureFinn(measured *instruments.Instruments) {
	if measured == nil {
		return
	}
	changed, called := s.finn.OnCircuitChange, s.finn.OnCall
	s.finn.OnCircuitChange = func(c finn.CircuitChange) {
		measured.CircuitChanged(c.To.String())
		if changed != nil {
			changed(c)
		}
	}
	s.finn.OnCall = func(r finn.CallResult) {
		measured.FinnCalled(r.Operation, callWord(r.Outcome), r.Took)
		if called != nil {
			called(r)
		}
	}
}

func callWord(o finn.CallOutcome) string {
	switch o {
	case finn.CallAnswered:
		return instruments.CallAnswered
	case finn.CallFailed:
		return instruments.CallFailed
	case finn.CallCircuitOpen:
		return instruments.CallCircuitOpen
	case finn.CallHeld:
		return instruments.CallHeld
	case finn.CallUndecided:
		return instruments.CallUndecided
	default:
		return instruments.CallUndecided
	}
}

// countTasks counts what the fleet tells of; nil when nothing is measured.
func countTasks(measured *instruments.Instruments) func(context.Context, fleet.Event) {
	if measured == nil {
		return nil
	}
	return func(ctx context.Context, e fleet.Event) {
		switch e.Type {
		case fleet.AgentSpawned:
			measured.Admitted(ctx)
		case fleet.SpawnDenied:
			measured.Denied(ctx, e.Reason)
		case fleet.AgentCompleted:
			measured.TaskEnded(ctx, instruments.TaskCompleted, "")
		case fleet.AgentFailed:
			measured.TaskEnded(ctx, instruments.TaskFailed, e.Reason)
		case fleet.AgentRetrying:
			measured.TaskEnded(ctx, instruments.TaskRetrying, e.Reason)
		case fleet.AgentCancelled:
			measured.TaskEnded(ctx, instruments.TaskCancelled, "")
		}
	}
}

// countBatches counts what is recorded of agents; nil when nothing is measured.
func countBatches(measured *instruments.Instruments) func(context.Context, reputation.Batch) {
	if measured == nil {
		return nil
	}
	return func(ctx context.Context, b reputation.Batch) {
		counted := instruments.Batch{Recorded: b.Recorded, Duplicates: b.Duplicates, Refused: b.Refused, Took: b.Took}
		if b.Err != nil {
			counted.Failed = b.Size
		}
		measured.BatchEnded(ctx, counted)
	}
}

// observe lets collections ask, until the shutdown, for what is not counted as it happens.
func (h *Handler) observe(measured *instruments.Instruments, client *finn.Client, tasks *fleet.Service) error {
	if measured == nil {
		return nil
	}
	registration, err := measured.Observe(instruments.Sources{
		Circuit:      func() string { return client.CircuitState().String() },
		ActiveTasks:  tasks.Working,
		Dependencies: h.api.DependenciesUp,
	})
	if err != nil {
		return err
	}
	h.onShutdown("metrics", func(context.Context) error { return registration.Unregister() })
	return nil
}
