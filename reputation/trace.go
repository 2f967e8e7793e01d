package reputation

import (
	"context"

	"go.opentelemetry.io/otel/attribute"

	"dixie/spansanitizer"
)

// startUpdate starts the span of a recording.
func startUpdate(ctx context.Context, tracer spansanitizer.Tracer, e Event) (context.Context, *spansanitizer.Span) {
	ctx, span := spansanitizer.StartSpan(ctx, tracer, spansanitizer.ReputationUpdate)
	if span.IsRecording() && e.ModelID != "" {
		span.SetAttributes(attribute.String(spansanitizer.ModelID, e.ModelID))
	}

	return ctx, span
}

// endUpdate notes what the transaction made of the agent: of one that failed nothing
// is known, and an agent that is cold has no score. The scores of a duplicate are
// those that the transaction found.
func endUpdate(span *spansanitizer.Span, v View, err error) {
	if !span.IsRecording() {
		return
	}

	if err != nil {
		span.Fail(err)

		return
	}

	if v.Score != nil {
		span.SetAttributes(attribute.Float64(spansanitizer.Score, *v.Score))
	}

	if v.EMA != nil {
		span.SetAttributes(attribute.Float64(spansanitizer.EMAValue, *v.EMA))
	}
}
