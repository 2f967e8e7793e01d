package dixie_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dixie"
	"dixie/finn"
	"dixie/finn/localfinn"
	"dixie/internal/otlptest"
)

// tapped is a Finn that remembers with which trace context it was called.
type tapped struct {
	url string

	mu    sync.Mutex
	calls []tappedCall // GUARDED_BY(mu)
}

type tappedCall struct {
	Path           string
	Parent, States []string
}

func tap(t *testing.T, responder localfinn.Responder) *tapped {
	t.Helper()
	inner := localfinn.New(localfinn.Config{Responder: responder})
	f := &tapped{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if strings.HasPrefix(path, "/ws/") {
			path = "/ws/"
		}
		f.mu.Lock()
		f.calls = append(f.calls, tappedCall{path, r.Header.Values("Traceparent"), r.Header.Values("Tracestate")})
		f.mu.Unlock()
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		_ = inner.Close(context.WithoutCancel(t.Context()))
	})
	f.url = server.URL
	return f
}

// of returns the calls of a path.
func (f *tapped) of(path string) []tappedCall {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []tappedCall
	for _, call := range f.calls {
		if strings.HasPrefix(call.Path, path) {
			found = append(found, call)
		}
	}
	return found
}

// TestInferenceSpan is T2.5 and T4.6: a streamed turn, from the browser to Finn.
func TestInferenceSpan(t *testing.T) {
	t.Parallel()
	g := gated{make(chan struct{})}
	f := tap(t, g)
	s := startTraced(t, g, dixie.WithFinn(finn.Config{URL: f.url}), dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/chat", strings.NewReader(`{"prompt":"the words of somebody"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{
		"Authorization": {"Bearer " + s.token()}, "Accept": {"text/event-stream"},
		"Traceparent": {clientParent}, "Tracestate": {"a=1", "b=2"},
	}
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if lines.Text() != `data: {"content":"one "}` {
			continue
		}
		// The stream is under way: the session has been made, and neither turn nor request have ended.
		if made := s.spans(clientTrace, "dixie.finn.inference"); len(made) != 1 {
			t.Errorf("%d inference spans in the middle of the stream", len(made))
		}
		if ended := s.spans(clientTrace, "dixie.request"); len(ended) != 0 {
			t.Error("the request's span ended in the middle of the stream")
		}
		close(g.next)
	}
	s.await(clientTrace, "dixie.request", 1)
	spans := s.await(clientTrace, "dixie.finn.inference", 2)
	var parents []string
	for _, span := range spans {
		if span.ParentID != response.Header.Get("X-Span-Id") || span.Status != "UNSET" || !strings.HasSuffix(span.Kind, "CLIENT") {
			t.Errorf("parent %s, status %s, kind %s", span.ParentID, span.Status, span.Kind)
		}
		if latency, ok := span.Attributes["latency_ms"].(float64); !ok || latency <= 0 {
			t.Errorf("latency_ms %v", span.Attributes["latency_ms"])
		}
		delete(span.Attributes, "latency_ms")
		if diff := cmp.Diff(map[string]any{"model": "unknown", "circuit_state": "closed"}, span.Attributes); diff != "" {
			t.Error(diff)
		}
		parents = append(parents, "00-"+clientTrace+"-"+span.SpanID+"-01")
	}
	want := []tappedCall{
		{"/api/sessions", parents[:1], []string{"a=1,b=2"}},
		{"/ws/", parents[1:], []string{"a=1,b=2"}},
	}
	if diff := cmp.Diff(want, append(f.of("/api/"), f.of("/ws/")...)); diff != "" {
		t.Error(diff)
	}
	if leaked := otlptest.Leaks(s.collector.Bytes(), "the words of somebody"); len(leaked) > 0 {
		t.Errorf("exported: %v", leaked)
	}
}

// TestLeavingClient: whoever goes away in the middle of a stream ends its spans.
func TestLeavingClient(t *testing.T) {
	t.Parallel()
	s := startTraced(t, gated{make(chan struct{})}, dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}))
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/chat", strings.NewReader(`{"prompt":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Bearer " + s.token()}, "Accept": {"text/event-stream"}}
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	_ = response.Body.Close()
	traceID := response.Header.Get("X-Trace-Id")
	if span := s.await(traceID, "dixie.request", 1)[0]; span.Status != "UNSET" || span.Attributes["status_code"] != int64(200) {
		t.Errorf("the request: %s %q %v", span.Status, span.StatusText, span.Attributes)
	}
	if span := s.await(traceID, "dixie.finn.inference", 2)[1]; span.Status != "UNSET" {
		t.Errorf("the turn: %s %q", span.Status, span.StatusText)
	}
}

// TestAbandonedSend: an answer that Finn cannot be kept from finishing has its span until it is there.
func TestAbandonedSend(t *testing.T) {
	t.Parallel()
	g := gated{make(chan struct{})}
	f := tap(t, g)
	s := startTraced(t, g, dixie.WithFinn(finn.Config{URL: f.url}), dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}))
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/chat", strings.NewReader(`{"prompt":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Bearer " + s.token()}, "Traceparent": {clientParent}}
	gone := make(chan error, 1)
	go func() {
		response, err := s.client.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		gone <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(f.of("/api/sessions/")) == 0 {
		<-tick.C
	}
	leave()
	if <-gone == nil {
		t.Error("the client stayed")
	}
	left := s.await(clientTrace, "dixie.request", 1)[0]
	if left.Attributes["status_code"] != int64(499) || left.Status != "UNSET" {
		t.Errorf("the request: %v %s", left.Attributes, left.Status)
	}
	if made := s.spans(clientTrace, "dixie.finn.inference"); len(made) != 1 {
		t.Errorf("%d inference spans while Finn works on", len(made))
	}
	close(g.next)
	span := s.await(clientTrace, "dixie.finn.inference", 2)[1]
	if span.ParentID != left.SpanID || span.Status != "UNSET" {
		t.Errorf("parent %s, status %s %s", span.ParentID, span.Status, span.StatusText)
	}
}

// TestSocketSpan: the span of a WebSocket ends with it.
func TestSocketSpan(t *testing.T) {
	t.Parallel()
	s := startTraced(t, nil)
	token := s.token()
	session, _ := s.do(http.MethodPost, "/api/chat", token, `{"prompt":"a b"}`).field("sessionId").(string)
	ticket, _ := s.do(http.MethodPost, "/api/ws/ticket", token, "").field("ticket").(string)
	conn, response, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(s.url, "http")+"/ws/chat/"+session+"?ticket="+ticket,
		&websocket.DialOptions{HTTPClient: s.client, HTTPHeader: http.Header{"Traceparent": {clientParent}}})
	if err != nil {
		t.Fatal(err)
	}
	s.readUntilDone(conn)
	if ended := s.spans(clientTrace, "dixie.request"); len(ended) != 0 {
		t.Error("the span ended before the socket")
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")
	span := s.await(clientTrace, "dixie.request", 1)[0]
	if span.Attributes["status_code"] != int64(101) || span.Attributes["url"] != "/ws/chat/{sessionId}" || span.Status != "UNSET" {
		t.Errorf("%v %s", span.Attributes, span.Status)
	}
	auth := s.await(clientTrace, "dixie.auth", 1)[0]
	delete(auth.Attributes, "wallet_hash") // Of a wallet that was made for the test.
	if diff := cmp.Diff(map[string]any{"auth_type": "ticket", "tier": "architect"}, auth.Attributes); diff != "" || auth.ParentID != span.SpanID {
		t.Errorf("the ticket: parent %s, %s", auth.ParentID, diff)
	}
	if got := response.Header.Get("Traceparent"); got != "00-"+clientTrace+"-"+span.SpanID+"-01" {
		t.Errorf("traceparent %s", got)
	}
}

// TestCircuitInSpans is T4.3: a span says what the circuit was when it began.
func TestCircuitInSpans(t *testing.T) {
	t.Parallel()
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	t.Cleanup(away.Close)
	s := startTraced(t, nil, dixie.WithFinn(finn.Config{URL: away.URL}), dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}))
	token := s.token()
	for i := range finn.FailureThreshold + 1 {
		state, text, code := "closed", "finn: bad answer (HTTP 502)", "upstream_error"
		if i == finn.FailureThreshold {
			state, text, code = "open", "finn: circuit open: CIRCUIT_OPEN", "circuit_open"
		}
		got := s.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`)
		if got.field("error") != code {
			t.Errorf("call %d: %s", i, got.body)
		}
		traceID := got.header.Get("X-Trace-Id")
		span := s.await(traceID, "dixie.finn.inference", 1)[0]
		if span.Attributes["circuit_state"] != state || span.Status != "ERROR" || span.StatusText != text {
			t.Errorf("call %d: %v, %s %q", i, span.Attributes, span.Status, span.StatusText)
		}
		if request := s.await(traceID, "dixie.request", 1)[0]; request.Status != "ERROR" || !strings.HasPrefix(request.StatusText, code+": ") {
			t.Errorf("call %d: the request: %s %q", i, request.Status, request.StatusText)
		}
	}
}

// TestTracingOff is T4.6: without tracing, the client's trace goes through to Finn, and no answer speaks of one.
func TestTracingOff(t *testing.T) {
	t.Parallel()
	f := tap(t, nil)
	s := start(t, nil, dixie.WithFinn(finn.Config{URL: f.url}), dixie.WithTracing(dixie.TracingConfig{}))
	token := s.token()
	for _, events := range []string{"application/json", "text/event-stream"} {
		for _, header := range [][]string{
			{"Accept", events, "Traceparent", clientParent, "Tracestate", "a=1"},
			{"Accept", events, "Traceparent", "00-" + strings.Repeat("0", 32) + "-" + clientSpan + "-01", "Tracestate", "a=1"},
			{"Accept", events},
		} {
			before := len(f.of("/"))
			got := s.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`, header...)
			for _, name := range []string{"Traceparent", "X-Trace-Id", "X-Span-Id", "Tracestate"} {
				if got.header.Values(name) != nil {
					t.Errorf("the answer has %s: %s", name, got.header.Values(name))
				}
			}
			calls := f.of("/")[before:]
			if len(calls) < 2 {
				t.Fatalf("%d calls", len(calls))
			}
			for _, call := range calls {
				want := tappedCall{Path: call.Path}
				if len(header) > 2 && header[3] == clientParent {
					want.Parent, want.States = []string{clientParent}, []string{"a=1"}
				}
				if diff := cmp.Diff(want, call, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%v: %s", header, diff)
				}
			}
		}
	}
}
