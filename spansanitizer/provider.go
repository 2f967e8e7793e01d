package spansanitizer

import (
	"context"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
)

// TracerProvider returns a provider whose spans are sanitised as well. Those of a tracer that is not this
// module's keep nothing.
func (s *Span) TracerProvider() trace.TracerProvider {
	if s == nil {
		return noop.NewTracerProvider()
	}
	return provider{next: s.span.TracerProvider(), policy: s.tracer.policy}
}

// provider makes sanitising tracers.
type provider struct {
	embedded.TracerProvider

	next   trace.TracerProvider
	policy *Policy
}

func (p provider) Tracer(name string, _ ...trace.TracerOption) trace.Tracer {
	if name == ScopeName {
		return apiTracer{tracer: Tracer{tracer: p.next.Tracer(ScopeName), policy: p.policy}}
	}
	return apiTracer{tracer: Tracer{tracer: p.next.Tracer(foreignScope), policy: p.policy, foreign: true}}
}

// apiTracer is a Tracer for those who know the API only.
type apiTracer struct {
	embedded.Tracer

	tracer Tracer
}

func (t apiTracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	cfg := trace.NewSpanStartConfig(options...)
	if cfg.NewRoot() {
		ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	}
	ctx, span := StartSpan(ctx, t.tracer, name, cfg.Attributes()...)
	for _, link := range cfg.Links() {
		span.AddLink(link)
	}
	return ctx, span
}
