package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dixie/e2e"
)

// failed is a test that keeps why it has failed.
type failed struct {
	testing.TB

	text string
}

func (f *failed) Fatal(args ...any) {
	f.text = fmt.Sprint(args...)
	runtime.Goexit()
}

// failure runs a function that must end its test, and returns the report.
func failure(t *testing.T, do func(tb testing.TB)) string {
	t.Helper()
	f := &failed{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do(f)
	}()
	<-ended
	if f.text == "" {
		t.Error("the test has not failed")
	}
	return f.text
}

func fake(t *testing.T, handler http.HandlerFunc) *e2e.Service {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s, err := e2e.NewService(e2e.ServiceConfig{
		URL: server.URL, AdminKey: "admin-secret",
		Logs: func(context.Context) string {
			return strings.Repeat("an old line\n", 100) + "the last line, with wst_0123456789abcdef\n"
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFailureShowsTheExchange: everything but credentials.
func TestFailureShowsTheExchange(t *testing.T) {
	t.Parallel()
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "r-1")
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, `{"error":"teapot","token":"eyJhbGciOiJIUzI1NiJ9.e30.c2ln","said":%q,"key":"dxk_12345678"}`, r.Header.Get("Authorization"))
	})
	report := failure(t, func(tb testing.TB) {
		tb.Helper()
		s.Want(tb, http.StatusOK, e2e.Request{
			Method: http.MethodPost, Path: "/api/chat", Token: "caller-secret", Header: map[string]string{"Accept": "text/event-stream"},
			Body: map[string]string{"prompt": "hello", "admin": "admin-secret", "signature": "0x" + strings.Repeat("ab", 65)},
		})
	})
	for _, shown := range []string{
		"the status is 418, want 200", "POST " + s.URL() + "/api/chat", "> Accept: text/event-stream", `"prompt":"hello"`,
		"< X-Request-Id: r-1", `"error":"teapot"`, `"said":"Bearer ***"`, "the last line, with ***",
	} {
		if !strings.Contains(report, shown) {
			t.Errorf("%q is not in\n%s", shown, report)
		}
	}
	for _, secret := range []string{"caller-secret", "admin-secret", "eyJ", "dxk_", "wst_", "abab"} {
		if strings.Contains(report, secret) {
			t.Errorf("%q is in\n%s", secret, report)
		}
	}
	if lines := strings.Count(report, "an old line"); lines != 39 {
		t.Errorf("%d lines of the log before the last", lines)
	}
}

// TestRetryAfter: a 429 is waited out, one that does not say for how long is an answer as any other.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mute" {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	started := time.Now()
	s.Want(t, http.StatusOK, e2e.Request{Method: http.MethodGet, Path: "/"})
	if took := time.Since(started); asked.Load() != 2 || took < time.Second {
		t.Errorf("asked %d times in %s", asked.Load(), took)
	}
	s.Want(t, http.StatusTooManyRequests, e2e.Request{Method: http.MethodGet, Path: "/mute"})
}

// TestWaitHealthy: ready is not enough, and what was in the way is told.
func TestWaitHealthy(t *testing.T) {
	t.Parallel()
	var looks atomic.Int32
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return
		}
		status := "degraded"
		if looks.Add(1) > 1 && r.Header.Get("Authorization") == "" {
			status = "healthy"
		}
		_, _ = fmt.Fprintf(w, `{"status":%q,"infrastructure":{"nats":{"status":"unreachable"}}}`, status)
	})
	health, took, err := s.WaitHealthy(t.Context(), "", e2e.StartLimit)
	if err != nil || took < time.Second || health.Infrastructure["nats"].Status != "unreachable" {
		t.Errorf("%+v after %s: %v", health, took, err)
	}
	_, _, err = s.WaitHealthy(t.Context(), "caller-secret", 100*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), `"nats":{"status":"unreachable"}`) || strings.Contains(err.Error(), "caller-secret") {
		t.Errorf("not healthy: %v", err)
	}
}

func TestServiceFromEnvironment(t *testing.T) {
	t.Parallel()
	environment := func(values map[string]string) func(string) string {
		return func(name string) string { return values[name] }
	}
	if s, err := e2e.FromEnvironment(environment(nil)); s != nil || err != nil {
		t.Errorf("nothing is named: %v, %v", s, err)
	}
	_, err := e2e.FromEnvironment(environment(map[string]string{"DIXIE_E2E_URL": "localhost:3001"}))
	if err == nil || !strings.Contains(err.Error(), "URL is not") || !strings.Contains(err.Error(), "admin key") {
		t.Errorf("problems: %v", err)
	}
	values := map[string]string{"DIXIE_E2E_URL": "http://localhost:3001/", "DIXIE_E2E_ADMIN_KEY": "k", "DIXIE_E2E_RESTART": "echo no such container; exit 3"}
	s, err := e2e.FromEnvironment(environment(values))
	if err != nil || s.URL() != "http://localhost:3001" {
		t.Fatalf("%v, %v", s, err)
	}
	if err := s.Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "no such container") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("the command that fails: %v", err)
	}
	delete(values, "DIXIE_E2E_RESTART")
	if s, err = e2e.FromEnvironment(environment(values)); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "DIXIE_E2E_RESTART") {
		t.Errorf("without a command: %v", err)
	}
}
