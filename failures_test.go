package dixie_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie"
	"dixie/finn"
	"dixie/finn/localfinn"
)

// breakingOff is a model that fails within its answer.
type breakingOff struct{}

// Model implements localfinn.Responder.
func (breakingOff) Model() string { return "breaking-off" }

// Respond implements localfinn.Responder.
func (breakingOff) Respond(_ context.Context, _ localfinn.Turn, emit func(finn.Event)) error {
	emit(finn.Event{Kind: finn.TextDelta, Text: "one "})
	return errors.New("the model broke")
}

func logInto(out *lockedBuffer) dixie.Option {
	return dixie.WithLogger(slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})))
}

// linesOf are the log's lines with this message.
func linesOf(t *testing.T, log *lockedBuffer, message string) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		if fields["msg"] == message {
			lines = append(lines, fields)
		}
	}
	return lines
}

// TestStreamThatFails: its status of 200 was told before, so log, metrics and span tell by themselves that it failed.
func TestStreamThatFails(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	m := newMeter(t)
	s := startTraced(t, breakingOff{}, logInto(&log), m.option(), dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}))
	got := s.do(http.MethodPost, "/api/chat", s.token(), `{"prompt":"hello"}`, "Accept", "text/event-stream")
	if got.status != http.StatusOK || !strings.Contains(string(got.body), "event: error") {
		t.Fatalf("%d %s", got.status, got.body)
	}
	span := s.await(got.header.Get("X-Trace-Id"), "dixie.request", 1)[0]
	if span.Status != "ERROR" || span.Attributes["status_code"] != int64(http.StatusOK) {
		t.Errorf("the span: %s %v", span.Status, span.Attributes)
	}
	m.expect(`http_server_request_duration_seconds_count{http_request_method="POST",http_route="/api/chat",status_class="5xx"} 1`)
	lines := linesOf(t, &log, "request")
	line := lines[len(lines)-1]
	told := map[string]any{}
	for _, key := range []string{"level", "path", "status", "aborted", "error"} {
		told[key] = line[key]
	}
	want := map[string]any{
		"level": "ERROR", "path": "/api/chat", "status": 200.0, "aborted": true,
		"error": "stream ended early: chat: turn: finn: turn failed: TURN_ERROR",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

// TestLeavingClientSaysNothing: whoever goes away while something is asked for them is no news of what was asked.
func TestLeavingClientSaysNothing(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	hang := func(ctx context.Context) error {
		asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	for name, option := range map[string]dixie.Option{
		"dependency": dixie.WithDependency(dixie.Dependency{Name: "postgresql", Check: hang}),
		"limiter":    dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: 100, Limiter: hangingLimiter{hang}}),
	} {
		var log lockedBuffer
		m := newMeter(t)
		s := start(t, nil, logInto(&log), m.option(), option)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-asked
			cancel()
		}()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/api/health", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := s.client.Do(request); err == nil {
			_ = response.Body.Close()
			t.Errorf("%s: status %d", name, response.StatusCode)
		}
		for tick := time.Tick(5 * time.Millisecond); len(linesOf(t, &log, "request")) == 0; {
			<-tick
		}
		for _, message := range []string{"does not answer", "rate limiter failed; this process counts by itself"} {
			if lines := linesOf(t, &log, message); lines != nil {
				t.Errorf("%s: %v", name, lines)
			}
		}
		if name == "limiter" {
			m.expect("dixie_ratelimit_fallbacks_total 0")
		}
	}
}

// hangingLimiter is a limiter that does not answer.
type hangingLimiter struct {
	hang func(context.Context) error
}

// Allow implements dixie.RateLimiter.
func (l hangingLimiter) Allow(ctx context.Context, _ string, _ int) (dixie.RateDecision, error) {
	return dixie.RateDecision{}, l.hang(ctx)
}

// TestSilentFinn: why Finn does not answer is in the log, once, with the ids of the request that met it.
func TestSilentFinn(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	local, err := localfinn.Start(localfinn.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, nil, logInto(&log), dixie.WithFinn(finn.Config{URL: local.URL(), ControlTimeout: 10 * time.Second}),
		dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}))
	token := s.token()
	if err := local.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		want(t, "chat", s.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`, "X-Request-Id", "request-1"), http.StatusServiceUnavailable, "")
	}
	lines := linesOf(t, &log, "finn_unreachable")
	if len(lines) != 2 || lines[0]["level"] != "ERROR" || lines[1]["level"] != "DEBUG" {
		t.Fatalf("%v", lines)
	}
	first := lines[0]
	if text, _ := first["error"].(string); !strings.Contains(text, "connection refused") || first["request_id"] != "request-1" {
		t.Errorf("%v", first)
	}
}
