package spansanitizer

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"dixie/internal/tracecontext"
)

// ScopeName is the name under which this module's spans are recorded.
const ScopeName = "dixie-bff"

// foreignScope is the name of the spans of everybody else.
const foreignScope = "foreign"

// Tracer starts spans. The zero value starts none, at no cost.
type Tracer struct {
	tracer trace.Tracer
	policy *Policy
	// foreign says that the tracer is that of another library, whose spans keep nothing.
	foreign bool
}

// NewTracer returns a tracer of a provider. A nil provider, also a nil pointer of a provider's type, and the API's
// no-op provider give one that starts no spans, as the zero Tracer; so does a provider whose Tracer method panics or
// returns nil. A nil policy is that of the specification.
func NewTracer(provider trace.TracerProvider, policy *Policy) Tracer {
	switch provider.(type) {
	case nil, noop.TracerProvider, *noop.TracerProvider:
		return Tracer{}
	}
	return Tracer{tracer: tracerOf(provider), policy: policy}
}

// tracerOf returns the provider's tracer, or nil if it has none to give: a nil pointer in an interface panics.
func tracerOf(provider trace.TracerProvider) (tracer trace.Tracer) {
	defer func() {
		if recover() != nil {
			tracer = nil
		}
	}()
	return provider.Tracer(ScopeName)
}

// Enabled tells whether the tracer starts spans at all.
func (t Tracer) Enabled() bool { return t.tracer != nil }

// StartSpan starts a span of one of the names of this package, as a child of that in ctx, and returns a
// context with it. The span must be ended. Attributes are sanitised; a sampler sees the span's name and kind,
// not its attributes. The span has no trace state of a client's. With a zero Tracer it returns ctx and a nil [Span], whose methods do nothing, without
// allocating anything.
func StartSpan(ctx context.Context, t Tracer, name string, attrs ...attribute.KeyValue) (context.Context, *Span) {
	if t.tracer == nil {
		return ctx, nil
	}
	ctx = tracecontext.SetAside(ctx)
	list := t.listOf(name)
	var ctxSpan context.Context
	var inner trace.Span
	if list == nil {
		ctxSpan, inner = t.tracer.Start(ctx, UnknownName)
	} else {
		ctxSpan, inner = t.tracer.Start(ctx, list.name, trace.WithSpanKind(list.kind))
	}
	span := &Span{span: inner, list: list, tracer: t}
	if len(attrs) > 0 {
		span.SetAttributes(attrs...)
	}
	return trace.ContextWithSpan(ctxSpan, span), span
}

// AddAttributes adds to the span in ctx what that span may carry of attrs. Without a span of this package in ctx
// it does nothing.
func AddAttributes(ctx context.Context, attrs ...attribute.KeyValue) {
	span, _ := trace.SpanFromContext(ctx).(*Span)
	span.SetAttributes(attrs...)
}

// listOf returns the allowlist of a span of this tracer.
func (t Tracer) listOf(name string) *allowlist {
	if t.foreign {
		return nil
	}
	return listOf(name)
}
