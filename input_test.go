package dixie_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"dixie"
	"dixie/internal/wallet"
)

func TestBadInput(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	for name, tc := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"not JSON":         {`{`, 400, "invalid_request"},
		"empty":            {``, 400, "invalid_request"},
		"two values":       {`{"prompt":"x"}{}`, 400, "invalid_request"},
		"wrong type":       {`{"prompt":7}`, 400, "invalid_request"},
		"huge number":      {`{"prompt":1e999}`, 400, "invalid_request"},
		"deep":             {strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), 400, "invalid_request"},
		"deep and ignored": {`{"prompt":"x","y":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, 400, "invalid_request"},
		"invalid UTF-8":    {"{\"prompt\":\"\xff\xfe\"}", 400, "invalid_request"},
		"blank prompt":     {`{"prompt":"   "}`, 400, "invalid_request"},
		"long prompt":      {`{"prompt":"` + strings.Repeat("x", 10_001) + `"}`, 400, "invalid_request"},
		"session id":       {`{"prompt":"x","sessionId":"../x"}`, 400, "invalid_request"},
		"unknown session":  {`{"prompt":"x","sessionId":"nobody"}`, 404, "not_found"},
		"101 KiB":          {`{"prompt":"` + strings.Repeat("x", 101<<10) + `"}`, 413, "payload_too_large"},
	} {
		want(t, name, s.do(http.MethodPost, "/api/chat", token, tc.body), tc.status, tc.code)
	}
	chunked := s.send(http.MethodPost, "/api/chat", token, io.MultiReader(strings.NewReader(strings.Repeat(" ", 101<<10)), strings.NewReader(`{}`)))
	want(t, "101 KiB, chunked", chunked, http.StatusRequestEntityTooLarge, "payload_too_large")
	for path, status := range map[string]int{
		"/api/sessions/..%2f..%2fetc":               404,
		"/api/sessions/a%00b":                       404,
		"/api/sessions/" + strings.Repeat("a", 300): 400,
		"/api/sessions/%2e%2e/x":                    404,
		"/api//sessions":                            404,
		"/api/unknown":                              404,
		"/unknown":                                  404,
	} {
		if got := s.do(http.MethodGet, path, token, ""); got.status != status || got.field("error") == nil {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	wrong := s.do(http.MethodPut, "/api/chat", token, "{}")
	want(t, "wrong method", wrong, http.StatusMethodNotAllowed, "method_not_allowed")
	if wrong.header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q", wrong.header.Get("Allow"))
	}
	want(t, "no credential", s.do(http.MethodPost, "/api/chat", "", `{"prompt":"x"}`), http.StatusUnauthorized, "unauthorized")
	want(t, "bad token", s.do(http.MethodPost, "/api/chat", token+"x", `{"prompt":"x"}`), http.StatusUnauthorized, "unauthorized")
	forged := s.do(http.MethodGet, "/api/sessions", "", "", "X-Wallet-Address", string(wallet.TestAddress),
		"X-Conviction-Tier", "sovereign", "X-Operator-Id", string(wallet.TestAddress))
	want(t, "forged headers", forged, http.StatusUnauthorized, "unauthorized")
}

// TestRequestID: the caller's is kept where it is harmless in a log.
func TestRequestID(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	address := string(wallet.TestAddress)
	for id, kept := range map[string]bool{
		"my-id": true, "0xabc": true, "627cc493-f310-47de-96bd-71410b7dec09": true, strings.Repeat("ab", 16): true, strings.Repeat("ab", 32): true,
		"a b{}": false, strings.Repeat("x", 129): false, address: false, "id0x0X" + strings.ToUpper(address[2:]) + "a": false, address[2:]: true,
		"dxk_abcdefgh": false, "x.wst_0f1e": false, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.abc": false,
	} {
		got := s.do(http.MethodGet, "/livez", "", "", "X-Request-Id", id).header.Get("X-Request-ID")
		if kept && got != id || !kept && len(got) != 36 {
			t.Errorf("%q became %q", id, got)
		}
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: 20}))
	for i := range 20 {
		if got := s.do(http.MethodGet, "/api/health", "", ""); got.status != http.StatusOK {
			t.Fatalf("request %d: %d", i, got.status)
		}
	}
	refused := s.do(http.MethodGet, "/api/health", "", "", "X-Forwarded-For", "203.0.113.9")
	want(t, "the 21st", refused, http.StatusTooManyRequests, "rate_limited")
	if refused.header.Get("Retry-After") == "" || refused.field("retry_after") == nil || refused.header.Get("X-Ratelimit-Remaining") != "0" {
		t.Errorf("%v %s", refused.header, refused.body)
	}
	want(t, "outside of /api", s.do(http.MethodGet, "/livez", "", ""), http.StatusOK, "")
}

func TestHeadersAndCORS(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	got := s.do(http.MethodGet, "/api/health", "", "", "Origin", origin)
	for name, value := range map[string]string{
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "X-Protocol-Version": "8.2.0",
		"Strict-Transport-Security":   "max-age=31536000; includeSubDomains",
		"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
	} {
		if got.header.Get(name) != value {
			t.Errorf("%s: %q", name, got.header.Get(name))
		}
	}
	if !strings.HasSuffix(got.header.Get("X-Response-Time"), "ms") {
		t.Errorf("X-Response-Time: %q", got.header.Get("X-Response-Time"))
	}
	foreign := s.do(http.MethodGet, "/api/health", "", "", "Origin", "https://evil.example")
	if foreign.status != http.StatusOK || foreign.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("foreign origin: %d %v", foreign.status, foreign.header)
	}
	preflight := s.do(http.MethodOptions, "/api/chat", "", "", "Origin", origin, "Access-Control-Request-Method", "POST")
	if preflight.status != http.StatusNoContent || preflight.header.Get("Access-Control-Max-Age") != "3600" {
		t.Errorf("preflight: %d %v", preflight.status, preflight.header)
	}
	if h := got.field("status"); h != "healthy" {
		t.Errorf("health: %s", got.body)
	}
}

func FuzzChatBody(f *testing.F) {
	s := start(f, nil)
	token := s.token()
	f.Add([]byte(`{"prompt":"x"}`))
	f.Add([]byte(`{"prompt":"x","sessionId":"s"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/chat", bytes.NewReader(body))
		request.Header.Set("Authorization", "Bearer "+token)
		recorder := httptest.NewRecorder()
		if bytes.Contains(body, []byte("sleep")) {
			return // A directive of the local Finn that takes its time.
		}
		s.handler.ServeHTTP(recorder, request)
		if recorder.Code >= http.StatusInternalServerError && recorder.Code != http.StatusBadGateway {
			t.Errorf("%d %s", recorder.Code, recorder.Body)
		}
	})
}
