package dixie_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"dixie"
	"dixie/finn"
	"dixie/internal/apitest"
	"dixie/internal/chat"
	"dixie/internal/wallet"
)

// each calls every described operation that declares the status, but for those to skip, and wants it.
func (s *service) each(status int, code string, call func(apitest.Operation) answer, skip ...string) {
	s.t.Helper()
	for _, operation := range describe(s.t).Operations() {
		if slices.Contains(operation.Statuses, status) && !slices.Contains(skip, operation.ID) {
			want(s.t, operation.ID, call(operation), status, code)
		}
	}
}

func TestEveryRouteRefusesOtherMethods(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	s.each(http.StatusMethodNotAllowed, "method_not_allowed", func(operation apitest.Operation) answer {
		// The description knows the other methods of a path, so each of its operations is seen refused.
		got := s.do(http.MethodPatch, operation.Path, token, "")
		if allow := got.header.Get("Allow"); !strings.Contains(allow, operation.Method) {
			t.Errorf("%s: Allow is %q", operation.ID, allow)
		}
		return got
	})
}

type refusingLimiter struct{}

func (refusingLimiter) Allow(_ context.Context, _ string, limit int) (dixie.RateDecision, error) {
	return dixie.RateDecision{Limit: limit, RetryAfter: 1500 * time.Millisecond, Reset: time.Minute}, nil
}

func TestEveryRouteIsLimited(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithRateLimit(dixie.RateLimitConfig{Limiter: refusingLimiter{}}))
	s.each(http.StatusTooManyRequests, "rate_limited", func(operation apitest.Operation) answer {
		got := s.do(operation.Method, operation.Path, "", "")
		if got.header.Get("Retry-After") != "2" || got.field("retry_after") != 2.0 {
			t.Errorf("%s: %v %s", operation.ID, got.header, got.body)
		}
		return got
	})
}

func TestEveryRouteRefusesWhileDraining(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if err := s.handler.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.each(http.StatusServiceUnavailable, "shutting_down", func(operation apitest.Operation) answer {
		return s.do(operation.Method, operation.Path, "", "")
	})
}

func TestEveryBodyIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	s.each(http.StatusRequestEntityTooLarge, "payload_too_large", func(operation apitest.Operation) answer {
		return s.do(operation.Method, operation.Path, token, strings.Repeat(" ", 101<<10))
	})
}

func TestEveryRouteKnowsItsCallers(t *testing.T) {
	t.Parallel()
	list, err := dixie.NewMemoryAllowlist(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, nil, dixie.WithAllowlist(list))
	key, err := wallet.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := list.Add(t.Context(), 0, string(key.Address())); err != nil {
		t.Fatal(err)
	}
	token, _ := s.signIn(key).field("token").(string)
	if _, err := list.Remove(t.Context(), string(key.Address())); err != nil {
		t.Fatal(err)
	}
	// Taken off the list: the token still holds, and opens nothing.
	s.each(http.StatusForbidden, "", func(operation apitest.Operation) answer {
		if operation.ID == "signIn" {
			return s.signIn(key)
		}
		return s.do(operation.Method, operation.Path, token, `{}`)
	}, "openSocket") // Its callers have tickets; see TestWebSocketGetsTheTurn.
	s.each(http.StatusUnauthorized, "", func(operation apitest.Operation) answer {
		body := ""
		if operation.ID == "signIn" {
			body = `{"message":"x","signature":"0x"}`
		}
		return s.do(operation.Method, operation.Path, "", body)
	})
	want(t, "a token of somebody unlisted still names its wallet", s.do(http.MethodGet, "/api/auth/verify", token, ""), http.StatusOK, "")
}

// panicking fails in a way that nobody foresaw.
type panicking struct{ chat.SessionStore }

type panickingLimiter struct{}

func (panickingLimiter) Allow(context.Context, string, int) (dixie.RateDecision, error) {
	panic("a secret cause") //nolint:forbidigo // It is what the test is about.
}

func TestEveryRouteSurvivesAPanic(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithRateLimit(dixie.RateLimitConfig{Limiter: panickingLimiter{}}))
	sockets := start(t, nil, dixie.WithChat(dixie.ChatConfig{Sessions: panicking{}}))
	token := sockets.token()
	s.each(http.StatusInternalServerError, "internal_error", func(operation apitest.Operation) answer {
		if operation.ID == "openSocket" {
			ticket, _ := sockets.do(http.MethodPost, "/api/ws/ticket", token, "").field("ticket").(string)
			return sockets.do(operation.Method, operation.Path+"?ticket="+ticket, "", "", upgrade()...)
		}
		got := s.do(operation.Method, operation.Path, adminKey, `{}`)
		if strings.Contains(string(got.body), "secret") {
			t.Errorf("%s shows the cause: %s", operation.ID, got.body)
		}
		return got
	})
	fragile := start(t, nil, dixie.WithDependency(dixie.Dependency{
		Name: "fragile", Required: true, Check: func(context.Context) error {
			panic("a secret cause") //nolint:forbidigo // As above.
		},
	}))
	want(t, "not ready", fragile.do(http.MethodGet, "/readyz", "", ""), http.StatusServiceUnavailable, "service_unavailable")
	if health := fragile.do(http.MethodGet, "/api/health", "", ""); health.status != http.StatusOK || health.field("status") != "degraded" {
		t.Errorf("health: %d %s", health.status, health.body)
	}
	want(t, "alive", s.do(http.MethodGet, "/livez", "", ""), http.StatusOK, "")
}

func TestEveryPathIDIsChecked(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	for _, operation := range describe(t).Operations() {
		for _, example := range []string{"s-1", "oracle-001", "7d1f0d6e-8d8e-4b53-a0a5-0f4d3f9c2b10"} {
			if !slices.Contains(operation.Statuses, http.StatusBadRequest) || !strings.Contains(operation.Path, "/"+example) {
				continue
			}
			for _, id := range []string{"a.b", "%24", strings.Repeat("a", 300)} {
				path := strings.Replace(operation.Path, "/"+example, "/"+id, 1)
				want(t, operation.ID+" "+id, s.do(operation.Method, path, token, `{}`), http.StatusBadRequest, "invalid_request")
			}
		}
	}
}

func TestServiceDescribesItself(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	info := s.do(http.MethodGet, "/", "", "")
	if info.status != http.StatusOK || info.field("service") != "dixie-bff" || info.field("version") != dixie.Version {
		t.Errorf("/: %d %s", info.status, info.body)
	}
	served := s.do(http.MethodGet, "/api/openapi.yaml", "", "")
	if served.status != http.StatusOK || !bytes.Equal(served.body, dixie.OpenAPI()) {
		t.Errorf("/api/openapi.yaml: %d, %d bytes", served.status, len(served.body))
	}
	if !strings.Contains(string(served.body), "\n  version: "+dixie.Version+"\n") {
		t.Error("the description is of another version")
	}
	if listed := s.do(http.MethodGet, "/api/admin/allowlist", adminKey, ""); listed.status != http.StatusOK {
		t.Errorf("allowlist: %d %s", listed.status, listed.body)
	}
}

// TestFinnRefuses is about what a client is told when Finn says no.
func TestFinnRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		finnStatus int
		finnCode   string
		status     int
		code       string
	}{
		"budget":     {http.StatusPaymentRequired, "BUDGET_EXCEEDED", http.StatusPaymentRequired, "usage_limit"},
		"rate":       {http.StatusTooManyRequests, "RATE_LIMITED", http.StatusTooManyRequests, "rate_limited"},
		"model":      {http.StatusUnprocessableEntity, "ORACLE_MODEL_UNAVAILABLE", http.StatusServiceUnavailable, "service_unavailable"},
		"provider":   {http.StatusBadGateway, "PROVIDER_UNAVAILABLE", http.StatusBadGateway, "service_unavailable"},
		"credential": {http.StatusUnauthorized, "AUTH_INVALID", http.StatusBadGateway, "upstream_error"},
		"conflict":   {http.StatusConflict, "SOMETHING", http.StatusConflict, "upstream_error"},
		"content":    {http.StatusUnprocessableEntity, "SOMETHING", http.StatusUnprocessableEntity, "upstream_error"},
		"no path":    {http.StatusNotFound, "", http.StatusNotFound, "upstream_error"},
		"no session": {http.StatusNotFound, "SESSION_NOT_FOUND", http.StatusNotFound, "not_found"},
		"5xx":        {http.StatusInternalServerError, "INTERNAL_ERROR", http.StatusBadGateway, "upstream_error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost && r.URL.Path == "/api/sessions" {
					w.WriteHeader(http.StatusCreated)
					_, _ = w.Write([]byte(`{"sessionId":"s-1","created":"2026-02-26T12:00:00Z","wsUrl":""}`))
					return
				}
				w.WriteHeader(tc.finnStatus)
				_, _ = w.Write([]byte(`{"error":"a secret cause","code":"` + tc.finnCode + `"}`))
			}))
			t.Cleanup(backend.Close)
			s := start(t, nil, dixie.WithFinn(finn.Config{URL: backend.URL}))
			token := s.token()
			got := s.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`)
			want(t, "chat", got, tc.status, tc.code)
			if strings.Contains(string(got.body), "secret") {
				t.Errorf("the client sees Finn's words: %s", got.body)
			}
			if tc.finnStatus == http.StatusInternalServerError || tc.finnStatus == http.StatusUnauthorized {
				want(t, "session", s.do(http.MethodGet, "/api/sessions/s-1", token, ""), http.StatusBadGateway, "upstream_error")
			}
		})
	}
}
