package signals

import (
	"context"

	"dixie/fleet"
	"dixie/internal/tracecontext"
)

// The headers of a message that say of which trace it is a part. Unlike those of HTTP they are compared letter by
// letter; these are their names in W3C Trace Context.
const (
	parentHeader = "traceparent"
	stateHeader  = "tracestate"
)

// traceContext is the trace of a message: the values of its headers, empty where there is none.
type traceContext struct{ parent, state string }

// traceOf is the span in ctx, if there is a valid one.
func traceOf(ctx context.Context) (t traceContext) {
	t.parent, t.state = tracecontext.Texts(ctx)
	return t
}

// eventTrace is the trace of an event, if it is valid: it may have come through a database. That of ctx, which is
// the caller's, does not count.
func eventTrace(ctx context.Context, e fleet.Event) traceContext {
	return traceOf(tracecontext.Restore(ctx, e.TraceParent, e.TraceState))
}
