package main_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"dixie/internal/otlptest"
)

// TestOneTrace is T1.2, T2.9 and T4.6 with real processes: the spans of the server and of Finn share the client's
// trace, and a server that stops sends what it still has.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	const (
		clientTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
		clientSpan  = "00f067aa0ba902b7"
	)
	collector := otlptest.Start(t)
	endpoint := "OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.Endpoint()
	f := startFinn(t, endpoint, "OTEL_BSP_SCHEDULE_DELAY=50")
	// The server sends nothing before it stops.
	server := serve(t, build(t, "dixie/examples/staging-server"), "FINN_URL="+f.url(), endpoint, "OTEL_BSP_SCHEDULE_DELAY=600000")
	token := login(t, build(t, "dixie/examples/siwe-login"), server.url)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.url+"/api/chat", strings.NewReader(`{"prompt":"the words of somebody"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Bearer " + token}, "Traceparent": {"00-" + clientTrace + "-" + clientSpan + "-01"}}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("chat: %s", response.Status)
	}
	named := func(name string) []otlptest.Span {
		return slices.DeleteFunc(collector.Named(name), func(s otlptest.Span) bool { return s.TraceID != clientTrace })
	}
	eventually(t, 10*time.Second, "Finn's spans arrive", func() bool { return len(named("finn.request")) >= 3 })
	if early := named("dixie.request"); len(early) != 0 {
		t.Errorf("sent before the end: %+v", early)
	}
	server.stop(t)
	requests, inferences := named("dixie.request"), named("dixie.finn.inference")
	if len(requests) != 1 || requests[0].ParentID != clientSpan || requests[0].SpanID != response.Header.Get("X-Span-Id") {
		t.Fatalf("the request: %+v", requests)
	}
	if auth := named("dixie.auth"); len(auth) != 1 || auth[0].ParentID != requests[0].SpanID {
		t.Errorf("authentication: %+v", auth)
	}
	// A look-up of the stake, a new session and a message.
	callers := map[string]bool{}
	for _, span := range inferences {
		if span.ParentID != requests[0].SpanID || span.Resource["service.name"] != "dixie-bff" {
			t.Errorf("a call to Finn: %+v", span)
		}
		callers[span.SpanID] = true
	}
	if len(callers) != 3 {
		t.Errorf("%d calls to Finn", len(callers))
	}
	for _, span := range named("finn.request") {
		if !callers[span.ParentID] || span.Resource["service.name"] != "local-finn" || len(span.Attributes) != 0 {
			t.Errorf("at Finn: %+v", span)
		}
		delete(callers, span.ParentID)
	}
	if len(callers) != 0 {
		t.Errorf("%d calls without a span at Finn", len(callers))
	}
	if leaked := otlptest.Leaks(collector.Bytes(), token, "the words of somebody"); len(leaked) > 0 {
		t.Errorf("exported: %v", leaked)
	}
}
