package finn

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"dixie/spansanitizer"
)

// inference is the span of one call. Without a tracer it is nothing.
type inference struct {
	span  *spansanitizer.Span
	start time.Time
}

// unknownModel stands for the model: Finn's answers and events do not name it.
// Nor do they count tokens, which are left out.
const unknownModel = "unknown"

// infer starts the span of a call, before the breaker is asked: of a call that
// it refuses, the span shows why. To end it,
//
//	defer call.span.End()
//	defer func() { call.report(err) }()
//
// in this order, so that a panic marks the span as failed.
func (c *Client) infer(ctx context.Context) (context.Context, inference) {
	if !c.tracer.Enabled() {
		return ctx, inference{}
	}
	start := time.Now()
	ctx, span := spansanitizer.StartSpan(ctx, c.tracer, spansanitizer.Inference,
		attribute.String(spansanitizer.CircuitState, c.breaker.state().String()),
		attribute.String(spansanitizer.Model, unknownModel))
	return ctx, inference{span, start}
}

// report says how the call went. A look-up that this Finn does not serve, a session that it does not know and a caller
// that has left are no failures.
func (i inference) report(err error) {
	if !i.span.IsRecording() {
		return
	}
	i.span.SetAttributes(attribute.Float64(spansanitizer.LatencyMS, float64(time.Since(i.start).Microseconds())/1000)) //nolint:mnd // In milliseconds.
	if !errors.Is(err, ErrNotAvailable) && !errors.Is(err, ErrSessionNotFound) && !errors.Is(err, context.Canceled) {
		i.span.Fail(err)
	}
}
