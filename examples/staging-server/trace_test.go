package main_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"dixie/internal/otlptest"
)

const (
	clientTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientSpan  = "00f067aa0ba902b7"
)

// oneTrace is what arrived of the client's trace.
type oneTrace struct {
	*testing.T

	collector *otlptest.Collector
}

func (o oneTrace) named(name string) []otlptest.Span {
	return slices.DeleteFunc(o.collector.Named(name), func(s otlptest.Span) bool { return s.TraceID != clientTrace })
}

// below returns the spans of a name with that parent, of which there must be n.
func (o oneTrace) below(parent, name string, n int) []otlptest.Span {
	o.Helper()
	found := slices.DeleteFunc(o.named(name), func(s otlptest.Span) bool { return s.ParentID != parent })
	if len(found) != n {
		o.Fatalf("%d spans %s below %s, want %d: %+v", len(found), name, parent, n, o.named(name))
	}
	return found
}

// TestOneTrace is T1.2, T2.9, T4.6 and T4.7 with real processes: a chat, a task with its run, and an event, of one client.
// The spans of the server and of Finn share the client's trace, each below the one that caused it, and a server that
// stops sends what it still has.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	const words = "the words of somebody"
	collector := otlptest.Start(t)
	endpoint := "OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.Endpoint()
	f := startFinn(t, endpoint, "OTEL_BSP_SCHEDULE_DELAY=50")
	// The server sends nothing before it stops.
	server := serve(t, build(t, "dixie/examples/staging-server"),
		"FINN_URL="+f.url(), endpoint, "OTEL_BSP_SCHEDULE_DELAY=600000", "DIXIE_RATE_LIMIT_RPM=0")
	token := login(t, build(t, "dixie/examples/siwe-login"), server.url)
	post := func(path, body string, status int) answer {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{"Authorization": {"Bearer " + token}, "Traceparent": {"00-" + clientTrace + "-" + clientSpan + "-01"}}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		got := answer{status: response.StatusCode, header: response.Header}
		if err := json.NewDecoder(response.Body).Decode(&got.fields); err != nil || got.status != status {
			t.Fatalf("%s: %d %v, %v", path, got.status, got.fields, err)
		}
		return got
	}
	chat := post("/api/chat", `{"prompt":"`+words+`"}`, http.StatusOK)
	spawned := post("/api/fleet/spawn", `{"description":"`+words+`","taskType":"docs","repository":"somebody/app"}`, http.StatusCreated)
	event := post("/api/reputation/agent/events", `{"type":"model_performance","model_id":"gpt-4o","provider":"openai",`+
		`"pool_id":"pool","task_type":"code:review","quality_observation":{"score":0.7,"evaluated_by":"somebody"}}`, http.StatusCreated)
	eventually(t, time.Minute, "the task has ended", func() bool {
		return ask(t.Context(), http.MethodGet, server.url+"/api/fleet/tasks/"+spawned.text("taskId"), token, "").fields["completedAt"] != nil
	})
	o := oneTrace{t, collector}
	// A look-up of the stake, a new session and a message; the task has a session and a message of its own.
	eventually(t, time.Minute, "Finn's spans arrive", func() bool { return len(o.named("finn.request")) >= 5 })
	if early := o.named("dixie.request"); len(early) != 0 {
		t.Errorf("sent before the end: %+v", early)
	}
	server.stop(t)

	if n := len(o.below(clientSpan, "dixie.request", 3)); n != len(o.named("dixie.request")) {
		t.Errorf("%d requests below the client's span", n)
	}
	for _, got := range []answer{chat, spawned, event} {
		o.below(got.header.Get("X-Span-Id"), "dixie.auth", 1)
	}
	o.below(event.header.Get("X-Span-Id"), "dixie.reputation.update", 1)
	spawn := o.below(spawned.header.Get("X-Span-Id"), "dixie.fleet.spawn", 1)[0]
	if check := o.below(spawn.SpanID, "dixie.governance.check", 1)[0]; check.Attributes["decision"] != "admit" {
		t.Errorf("the check: %+v", check)
	}
	calls := slices.Concat(o.below(chat.header.Get("X-Span-Id"), "dixie.finn.inference", 3), o.below(spawn.SpanID, "dixie.finn.inference", 2))
	if n := len(o.named("dixie.finn.inference")); n != len(calls) {
		t.Errorf("%d calls to Finn, of which %d belong to somebody", n, len(calls))
	}
	for _, call := range calls {
		if call.Resource["service.name"] != "dixie-bff" {
			t.Errorf("a call to Finn: %+v", call)
		}
		if span := o.below(call.SpanID, "finn.request", 1)[0]; span.Resource["service.name"] != "local-finn" || len(span.Attributes) != 0 {
			t.Errorf("at Finn: %+v", span)
		}
	}
	if n := len(o.named("finn.request")); n != len(calls) {
		t.Errorf("%d spans at Finn for %d calls", n, len(calls))
	}
	if leaked := otlptest.Leaks(collector.Bytes(), token, words); len(leaked) > 0 {
		t.Errorf("exported: %v", leaked)
	}
}
