package dixie_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dixie"
	"dixie/finn/localfinn"
	"dixie/internal/otlptest"
	"dixie/internal/wallet"
	"dixie/spansanitizer"
	"dixie/telemetry"
)

// traced is a service whose spans go to a collector.
type traced struct {
	*service

	collector *otlptest.Collector
	telemetry *telemetry.Telemetry
}

func startTraced(t *testing.T, responder localfinn.Responder, opts ...dixie.Option) *traced {
	t.Helper()
	collector := otlptest.Start(t)
	tel, err := telemetry.Start(t.Context(), telemetry.Config{Endpoint: collector.Endpoint()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	tracing := dixie.WithTracing(dixie.TracingConfig{Provider: tel.TracerProvider()})
	return &traced{start(t, responder, append([]dixie.Option{tracing}, opts...)...), collector, tel}
}

// spans returns the ended spans of a trace that have that name, oldest first.
func (s *traced) spans(traceID, name string) []otlptest.Span {
	s.t.Helper()
	if err := s.telemetry.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	var found []otlptest.Span
	for _, span := range s.collector.Named(name) {
		if span.TraceID == traceID {
			found = append(found, span)
		}
	}
	return found
}

// await returns the spans when there are n: an answer is there a moment before its span has ended.
func (s *traced) await(traceID, name string, n int) []otlptest.Span {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		found := s.spans(traceID, name)
		if len(found) == n {
			return found
		}
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("%d spans %s, want %d: %+v", len(found), name, n, found)
		}
	}
}

const (
	clientTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientSpan   = "00f067aa0ba902b7"
	clientParent = "00-" + clientTrace + "-" + clientSpan + "-01"
)

// panicsOnDemand stands where payment is checked, and panics before or after the header is out.
func panicsOnDemand(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Panic") {
		case "before":
			panic("a secret of 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266") //nolint:forbidigo // It is what is tried.
		case "after":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			panic("a secret of 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266") //nolint:forbidigo // It is what is tried.
		}
		next.ServeHTTP(w, r)
	})
}

// TestRequestSpan is T2.3 and T4.1.
//
//nolint:tparallel // As below.
func TestRequestSpan(t *testing.T) {
	t.Parallel()
	s := startTraced(t, nil, dixie.WithPayment(panicsOnDemand), dixie.WithAuth(dixie.AuthConfig{Tickets: absentTickets{}}))
	s.client = &http.Client{Transport: &http.Transport{}} // What breaks off in the middle is not described.
	t.Cleanup(s.client.CloseIdleConnections)
	token := s.token()
	for name, tc := range map[string]struct { //nolint:paralleltest // What was exported is searched at the end.
		method, path, token string
		header              []string
		attributes          map[string]any
		status, text, event string
	}{
		"fine": {
			method: http.MethodGet, path: "/livez",
			attributes: map[string]any{"method": "GET", "url": "/livez", "status_code": int64(200)},
		},
		"a template, not the path": {
			method: http.MethodGet, path: "/api/reputation/0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", token: token,
			attributes: map[string]any{"method": "GET", "url": "/api/reputation/{nftId}", "status_code": int64(404)},
		},
		"refused before its route": {
			method: http.MethodGet, path: "/api/fleet/tasks/secret-of-somebody",
			attributes: map[string]any{"method": "GET", "url": "/api/fleet/tasks/{taskId}", "status_code": int64(401)},
		},
		"no such path": {
			method: http.MethodGet, path: "/secret-of-somebody",
			attributes: map[string]any{"method": "GET", "url": "unmatched", "status_code": int64(404)},
		},
		"no clean path": {
			method: http.MethodGet, path: "//secret-of-somebody",
			attributes: map[string]any{"method": "GET", "url": "unmatched", "status_code": int64(404)},
		},
		"a method of the client's own": {
			method: "SECRET", path: "/livez",
			attributes: map[string]any{"method": "other", "url": "/livez", "status_code": int64(405)},
		},
		"something is away": {
			method: http.MethodPost, path: "/api/ws/ticket", token: token,
			attributes: map[string]any{"method": "POST", "url": "/api/ws/ticket", "status_code": int64(503)},
			status:     "ERROR", text: "service_unavailable: Sign-in is temporarily unavailable", event: "*httpapi.apiError",
		},
		"panic": {
			method: http.MethodGet, path: "/api/sessions", token: token, header: []string{"X-Panic", "before"},
			attributes: map[string]any{"method": "GET", "url": "/api/sessions", "status_code": int64(500)},
			status:     "ERROR", text: "internal_error: Internal error", event: "*httpapi.apiError",
		},
		"panic after the header": {
			method: http.MethodGet, path: "/api/sessions", token: token, header: []string{"X-Panic", "after"},
			attributes: map[string]any{"method": "GET", "url": "/api/sessions", "status_code": int64(200)},
			status:     "ERROR", text: "panic", event: "*errors.errorString",
		},
	} {
		t.Run(name, func(t *testing.T) {
			header := s.headers(t, tc.method, tc.path, tc.token, tc.header...)
			traceID := header.Get("X-Trace-Id")
			span := s.await(traceID, "dixie.request", 1)[0]
			if want := "00-" + span.TraceID + "-" + span.SpanID + "-01"; header.Get("Traceparent") != want || header.Get("X-Span-Id") != span.SpanID {
				t.Errorf("traceparent %s, want %s; X-Span-Id %s", header.Get("Traceparent"), want, header.Get("X-Span-Id"))
			}
			if d, ok := span.Attributes["duration_ms"].(float64); !ok || d < 0 || d > 60_000 {
				t.Errorf("duration_ms %v", span.Attributes["duration_ms"])
			}
			delete(span.Attributes, "duration_ms")
			if diff := cmp.Diff(tc.attributes, span.Attributes); diff != "" {
				t.Error(diff)
			}
			wantStatus := tc.status
			if wantStatus == "" {
				wantStatus = "UNSET"
			}
			if span.Status != wantStatus || span.StatusText != tc.text || span.ParentID != "" || !strings.HasSuffix(span.Kind, "SERVER") {
				t.Errorf("status %s %q, parent %q, kind %s", span.Status, span.StatusText, span.ParentID, span.Kind)
			}
			var events []otlptest.Event
			if tc.event != "" {
				events = []otlptest.Event{{Name: "exception", Attributes: map[string]any{"exception.type": tc.event, "exception.message": tc.text}}}
			}
			if diff := cmp.Diff(events, span.Events, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if leaked := otlptest.Leaks(s.collector.Bytes(), string(wallet.TestAddress), "secret-of-somebody"); len(leaked) > 0 {
		t.Errorf("exported: %v", leaked)
	}
}

// headers sends a request and returns the headers of the answer, whose body may break off.
func (s *traced) headers(t *testing.T, method, path, token string, header ...string) http.Header {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.Header
}

// TestClientTrace is T4.1: what the client says of its trace.
func TestClientTrace(t *testing.T) {
	t.Parallel()
	s := startTraced(t, nil)
	continued := s.headers(t, http.MethodGet, "/livez", "", "traceparent", clientParent)
	span := s.await(clientTrace, "dixie.request", 1)[0]
	if span.ParentID != clientSpan || continued.Get("Traceparent") != "00-"+clientTrace+"-"+span.SpanID+"-01" {
		t.Errorf("parent %s, traceparent %s", span.ParentID, continued.Get("Traceparent"))
	}
	const unsampledTrace = "5bf92f3577b34da6a3ce929d0e0e4736"
	unsampled := s.headers(t, http.MethodGet, "/livez", "", "traceparent", "00-"+unsampledTrace+"-"+clientSpan+"-00")
	parent := unsampled.Get("Traceparent")
	if !strings.HasPrefix(parent, "00-"+unsampledTrace+"-") || !strings.HasSuffix(parent, "-00") || strings.Contains(parent, clientSpan) {
		t.Errorf("not sampled: traceparent %s", parent)
	}
	for name, header := range map[string][]string{
		"future version, more fields": {"traceparent", "cc" + clientParent[2:] + "-what-is-to-come"},
		"oversized state":             {"traceparent", clientParent, "tracestate", "a=" + strings.Repeat("v", 200) + ",b=" + strings.Repeat("v", 400)},
		"malformed state":             {"traceparent", clientParent, "tracestate", "A==="},
	} {
		got := s.headers(t, http.MethodGet, "/livez", "", header...)
		if got.Get("X-Trace-Id") != clientTrace || !strings.HasPrefix(got.Get("Traceparent"), "00-"+clientTrace+"-"+got.Get("X-Span-Id")+"-01") {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, span := range s.await(clientTrace, "dixie.request", 4) {
		if span.ParentID != clientSpan {
			t.Errorf("parent %s", span.ParentID)
		}
	}
	for name, header := range map[string][]string{
		"malformed":        {"traceparent", clientParent + "-x"},
		"version":          {"traceparent", "ff" + clientParent[2:]},
		"duplicate":        {"traceparent", clientParent, "traceparent", clientParent},
		"short":            {"traceparent", clientParent[:54]},
		"upper case":       {"traceparent", strings.ToUpper(clientParent)},
		"zeros for trace":  {"traceparent", "00-" + strings.Repeat("0", 32) + "-" + clientSpan + "-01"},
		"zeros for a span": {"traceparent", "00-" + clientTrace + "-" + strings.Repeat("0", 16) + "-01"},
	} {
		got := s.headers(t, http.MethodGet, "/livez", "", header...).Get("X-Trace-Id")
		if got == clientTrace || len(got) != 32 {
			t.Errorf("%s: trace id %q", name, got)
		}
		if span := s.await(got, "dixie.request", 1)[0]; span.ParentID != "" {
			t.Errorf("%s: parent %s", name, span.ParentID)
		}
	}
	if found := s.spans(unsampledTrace, "dixie.request"); len(found) != 0 {
		t.Errorf("not sampled: %+v", found)
	}
}

// TestAuthSpan is T2.4.
func TestAuthSpan(t *testing.T) {
	t.Parallel()
	const apiKey = "dxk_abcdefgh12345678"
	key, err := wallet.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	list, err := dixie.NewMemoryAllowlist([]string{string(key.Address())}, []string{apiKey})
	if err != nil {
		t.Fatal(err)
	}
	s := startTraced(t, nil, dixie.WithAllowlist(list), dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}))
	token, ok := s.signIn(key).field("token").(string)
	if !ok {
		t.Fatal("no token")
	}
	for _, tc := range []struct {
		name, token string
		attributes  map[string]any
		text        string
	}{
		{"none", "", map[string]any{"auth_type": "none", "tier": "observer"}, ""},
		{"wallet", token, map[string]any{"auth_type": "jwt", "wallet_hash": spansanitizer.Hash(string(key.Address())), "tier": "unknown"}, ""},
		{"wallet again", token, map[string]any{"auth_type": "jwt", "wallet_hash": spansanitizer.Hash(string(key.Address())), "tier": "architect"}, ""},
		{"key", apiKey, map[string]any{"auth_type": "api_key", "tier": "observer"}, ""},
		{"unknown key", apiKey + "9", map[string]any{"auth_type": "api_key", "tier": "observer"}, "credential refused: unknown key"},
		{"admin", adminKey, map[string]any{"auth_type": "admin", "tier": "observer"}, ""},
		{"malformed", "secret.of.somebody", map[string]any{"auth_type": "malformed", "tier": "observer"}, "credential refused: malformed"},
		{
			"forged", token[:len(token)-8] + "AAAAAAAA", map[string]any{"auth_type": "invalid_signature", "tier": "observer"},
			"credential refused: invalid_signature",
		},
	} {
		got := s.do(http.MethodGet, "/api/sessions", tc.token, "")
		traceID := got.header.Get("X-Trace-Id")
		span := s.await(traceID, "dixie.auth", 1)[0]
		if diff := cmp.Diff(tc.attributes, span.Attributes); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
		if span.ParentID != got.header.Get("X-Span-Id") {
			t.Errorf("%s: the parent is %s", tc.name, span.ParentID)
		}
		if wantError := tc.text != ""; wantError != (span.Status == "ERROR") || span.StatusText != tc.text {
			t.Errorf("%s: status %s %q", tc.name, span.Status, span.StatusText)
		}
	}
	if leaked := otlptest.Leaks(s.collector.Bytes(), string(key.Address()), apiKey, token, "secret.of.somebody", adminKey); len(leaked) > 0 {
		t.Errorf("exported: %v", leaked)
	}
}

// TestLogsJoinTraces is about every line that belongs to a request: it says which one, once, and in which trace.
func TestLogsJoinTraces(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := startTraced(t, nil, dixie.WithLogger(logger))
	got := s.do(http.MethodGet, "/api/sessions", "a.b.c", "", "X-Request-Id", "request-1")
	traceID := got.header.Get("X-Trace-Id")
	s.await(traceID, "dixie.request", 1)
	mu.Lock()
	defer mu.Unlock()
	var lines []string
	for line := range bytes.Lines(out.Bytes()) {
		if !bytes.Contains(line, []byte("request-1")) {
			continue
		}
		var fields struct {
			Message string `json:"msg"`
			ID      string `json:"request_id"`
			Trace   string `json:"trace_id"`
		}
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(line, []byte(`"request_id"`)); fields.ID != "request-1" || fields.Trace != traceID || n != 1 {
			t.Errorf("%d request ids: %s", n, line)
		}
		lines = append(lines, fields.Message)
	}
	if diff := cmp.Diff([]string{"jwt_verification_failed", "request"}, lines); diff != "" {
		t.Errorf("%s%s", diff, &out)
	}
}
