package signals

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"dixie/fleet"
)

const (
	// traceHeader is the header of a message that says of which trace it is a part.
	traceHeader = "traceparent"
	// traceLength is the length of the one form that is sent.
	traceLength = len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
)

// traceOf is the span in ctx as a W3C traceparent; empty if there is none, or none that is valid.
func traceOf(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get(traceHeader)
}

// eventTrace is the trace of an event, if it is valid: it may have come through a database. That of ctx, which is
// the caller's, does not count.
func eventTrace(ctx context.Context, e fleet.Event) string {
	if len(e.TraceParent) != traceLength {
		return ""
	}
	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	return traceOf(propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceHeader: e.TraceParent}))
}
