// Package contextlog says in each line of the log which request and which trace it belongs to.
package contextlog

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// The keys of what is added.
const (
	RequestIDKey = "request_id"
	TraceIDKey   = "trace_id"
)

// Handler adds the ids of the context to what it hands on, unless the line has them: from a handler before it, or from
// who wrote it. Below a group they are in the group. It is safe for concurrent use if the next one is. Make one with
// [New].
type Handler struct {
	next      slog.Handler
	requestID func(context.Context) string
}

var _ slog.Handler = (*Handler)(nil)

// New wraps a handler; one that is wrapped already is returned as it is. RequestID returns the id of the request that
// a context belongs to, or the empty text.
func New(next slog.Handler, requestID func(context.Context) string) *Handler {
	if h, ok := next.(*Handler); ok {
		return h
	}
	return &Handler{next, requestID}
}

// Enabled implements [slog.Handler].
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements [slog.Handler]. It allocates nothing if there is nothing to add.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	var ids [2]slog.Attr
	adding := ids[:0]
	if id := h.requestID(ctx); id != "" && !has(r, RequestIDKey) {
		adding = append(adding, slog.String(RequestIDKey, id))
	}
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() && !has(r, TraceIDKey) {
		adding = append(adding, slog.String(TraceIDKey, sc.TraceID().String()))
	}
	if len(adding) > 0 {
		r = r.Clone() // Others may hold it, too.
		r.AddAttrs(adding...)
	}
	return h.next.Handle(ctx, r) //nolint:wrapcheck // It is handed on.
}

func has(r slog.Record, key string) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		found = a.Key == key
		return !found
	})
	return found
}

// WithAttrs implements [slog.Handler].
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.next.WithAttrs(attrs), h.requestID}
}

// WithGroup implements [slog.Handler].
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.next.WithGroup(name), h.requestID}
}
