package fleet

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"

	"dixie/internal/tracecontext"
	"dixie/spansanitizer"
)

// resourceTask is what admission is about.
const resourceTask = "fleet_task"

// inTrace returns ctx with the span that spawned the task as a remote one. Of a task without a valid one it
// returns ctx without a span: an attempt is no part of the trace of whoever started the service.
func (t Task) inTrace(ctx context.Context) context.Context {
	return tracecontext.Restore(ctx, t.TraceParent, t.TraceState)
}

// startSpawn starts the span of a spawn.
func (s *Service) startSpawn(ctx context.Context, r SpawnRequest) (context.Context, *spansanitizer.Span) {
	ctx, span := spansanitizer.StartSpan(ctx, s.cfg.Tracer, spansanitizer.FleetSpawn)
	if !span.IsRecording() {
		return ctx, span
	}
	if r.TaskType != "" {
		span.SetAttributes(attribute.String(spansanitizer.TaskType, r.TaskType))
	}
	if r.Operator != "" {
		span.SetAttributes(attribute.String(spansanitizer.OperatorID, r.Operator))
	}
	return ctx, span
}

// noteSpawned notes what an admission charged. A replay charges nothing; a denial is an answer and no failure, and nor is
// a request that was refused.
func noteSpawned(span *spansanitizer.Span, spawned Spawned, err error) {
	if !span.IsRecording() {
		return
	}
	var denied *DeniedError
	switch {
	case errors.As(err, &denied), errors.Is(err, ErrInvalidRequest), spawned.Replayed:
	case err != nil:
		span.Fail(err)
	default:
		span.SetAttributes(attribute.Int64(spansanitizer.Cost, spawned.Decision.CostMicroUSD))
	}
}

// startCheck starts the span of an admission.
func (s *Service) startCheck(ctx context.Context) (context.Context, *spansanitizer.Span) {
	ctx, span := spansanitizer.StartSpan(ctx, s.cfg.Tracer, spansanitizer.GovernanceCheck)
	if span.IsRecording() {
		span.SetAttributes(attribute.String(spansanitizer.ResourceType, resourceTask))
	}
	return ctx, span
}

// noteDecision notes what the policy said.
func noteDecision(span *spansanitizer.Span, d Decision) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String(spansanitizer.Decision, verdictOf(d)),
		attribute.Int(spansanitizer.WitnessCount, d.WitnessCount),
	)
	if !d.Admit && d.Reason != "" {
		span.SetAttributes(attribute.String(spansanitizer.DenialReason, d.Reason))
	}
}

func verdictOf(d Decision) string {
	if d.Admit {
		return "admit"
	}
	return "deny"
}

// decide asks the policy, which is pure, within a span.
func (s *Service) decide(ctx context.Context, asked Request, counted Snapshot) Decision {
	_, span := s.startCheck(ctx)
	defer span.End()
	d := s.cfg.Policy.Decide(asked, counted)
	noteDecision(span, d)
	return d
}
