package dixie_test

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"dixie"
	"dixie/finn"
)

const clientState = "vendor=alice"

// hostsProvider is a host's own: its spans have the state of their parent, as OpenTelemetry has it.
type hostsProvider struct {
	noop.TracerProvider

	started chan trace.SpanContext
}

// Tracer implements trace.TracerProvider.
func (p hostsProvider) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return hostsTracer{provider: p}
}

type hostsTracer struct {
	noop.Tracer

	provider hostsProvider
}

// Start implements trace.Tracer.
func (t hostsTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	sc := trace.SpanContextFromContext(ctx).WithSpanID(trace.SpanID{1})
	t.provider.started <- sc
	ctx = trace.ContextWithSpanContext(ctx, sc)
	return ctx, trace.SpanFromContext(ctx)
}

// TestOwnProvider: also the spans of a provider whose exporter sanitises nothing have no trace state of a client's, and
// Finn gets it.
func TestOwnProvider(t *testing.T) {
	t.Parallel()
	provider := hostsProvider{started: make(chan trace.SpanContext, 100)}
	f := tap(t, nil)
	s := start(t, nil, dixie.WithFinn(finn.Config{URL: f.url}), dixie.WithTracing(dixie.TracingConfig{Provider: provider}),
		dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}))
	token := s.token()
	want(t, "chat", s.do(http.MethodPost, "/api/chat", token, `{"prompt":"hello"}`,
		"traceparent", clientParent, "tracestate", clientState), http.StatusOK, "")
	close(provider.started)
	spans := 0
	for sc := range provider.started {
		if sc.HasTraceID() { // It has that of the client.
			spans++
		}
		if sc.TraceState().Len() != 0 {
			t.Error("a span has the client's trace state")
		}
	}
	if spans < 4 {
		t.Errorf("%d spans in the client's trace", spans)
	}
	calls := f.of("/api/sessions")
	if len(calls) < 2 {
		t.Fatalf("%d calls to Finn", len(calls))
	}
	for _, call := range calls[len(calls)-2:] {
		if !slices.Equal(call.States, []string{clientState}) {
			t.Errorf("%s: %q", call.Path, call.States)
		}
	}
}

// TestProviderThatRecordsNothing: an answer does not name the client's span as the service's own.
func TestProviderThatRecordsNothing(t *testing.T) {
	t.Parallel()
	provider := struct{ noop.TracerProvider }{}
	s := start(t, nil, dixie.WithTracing(dixie.TracingConfig{Provider: provider}))
	got := s.do(http.MethodGet, "/api/health", "", "", "traceparent", clientParent)
	if parent := got.header.Get("Traceparent"); got.status != http.StatusOK || parent != "" {
		t.Errorf("%d %q", got.status, parent)
	}
}
