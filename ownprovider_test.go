package dixie_test

import (
	"net/http"
	"slices"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"

	"dixie"
	"dixie/finn"
)

const clientState = "vendor=alice"

// TestOwnProvider: also a host's provider, whose exporter sanitises nothing, sends no trace state of a client's, and
// Finn gets it.
func TestOwnProvider(t *testing.T) {
	t.Parallel()
	exported := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exported))
	f := tap(t, nil)
	s := start(t, nil, dixie.WithFinn(finn.Config{URL: f.url}), dixie.WithTracing(dixie.TracingConfig{Provider: provider}),
		dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}))
	token := s.token()
	want(t, "chat", s.do(http.MethodPost, "/api/chat", token, `{"prompt":"hello"}`,
		"traceparent", clientParent, "tracestate", clientState), http.StatusOK, "")
	if err := provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, span := range exported.GetSpans() {
		if n := span.SpanContext.TraceState().Len() + span.Parent.TraceState().Len(); n != 0 {
			t.Errorf("%s has a trace state", span.Name)
		}
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
