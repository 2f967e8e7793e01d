package dixie_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"dixie"
	"dixie/finn"
	"dixie/internal/wallet"
)

func TestNewReportsEveryProblemAtOnce(t *testing.T) {
	t.Parallel()
	_, err := dixie.New(
		dixie.WithEnvironment("moon"),
		dixie.WithAuth(dixie.AuthConfig{TokenSecret: []byte("short"), Origins: []string{"http://a/b"}}),
		dixie.WithFinn(finn.Config{URL: "ftp://x"}),
		dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: -2}),
		dixie.WithAllowlistFile("", false),
	)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"moon", "5 bytes", "http://a/b", "WithFinn", "-2", "path is empty", "chat sessions", "fleet tasks", "store for reputation"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}

func TestProductionIsTheDefaultAndStrict(t *testing.T) {
	t.Parallel()
	_, err := dixie.New()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"token secret", "origin", "allowlist", "Finn", "chat sessions", "fleet tasks", "store for reputation"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}

func TestSignInChatAndSessions(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	key, err := wallet.ParseKey(wallet.TestKey)
	if err != nil {
		t.Fatal(err)
	}
	signedIn := s.signIn(key)
	want(t, "sign in", signedIn, http.StatusOK, "")
	if signedIn.field("wallet") != string(wallet.TestAddress) || signedIn.field("expiresIn") != "1h" ||
		signedIn.header.Get("Cache-Control") != "no-store" {
		t.Errorf("sign in: %s", signedIn.body)
	}
	token, _ := signedIn.field("token").(string)
	verified := s.do(http.MethodGet, "/api/auth/verify", token, "")
	if verified.field("wallet") != string(wallet.TestAddress) || verified.field("role") != "team" {
		t.Errorf("verify: %s", verified.body)
	}

	first := s.do(http.MethodPost, "/api/chat", token, `{"prompt":"hello world [[tool search]]"}`, "X-Request-Id", "my-id")
	want(t, "chat", first, http.StatusOK, "")
	if first.field("response") != "You said: hello world" || first.field("messageId") != "my-id" {
		t.Errorf("chat: %s", first.body)
	}
	if first.header.Get("X-Conviction-Tier") != "architect" || first.header.Get("X-Model-Pool") != "pool_premium" {
		t.Errorf("tier headers: %v", first.header)
	}
	session, _ := first.field("sessionId").(string)
	again := s.do(http.MethodPost, "/api/chat", token, `{"prompt":"again","sessionId":"`+session+`"}`)
	if again.field("sessionId") != session {
		t.Errorf("second turn: %s", again.body)
	}
	var list []map[string]any
	if err := json.Unmarshal(s.do(http.MethodGet, "/api/sessions", token, "").body, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0]["id"] != session || list[0]["firstMessage"] != "hello world [[tool search]]" {
		t.Errorf("sessions: %v", list)
	}
	detail := s.do(http.MethodGet, "/api/sessions/"+session, token, "")
	if detail.field("messageCount") != 4.0 {
		t.Errorf("session: %s", detail.body)
	}

	stranger := s.token()
	want(t, "another's session", s.do(http.MethodGet, "/api/sessions/"+session, stranger, ""), http.StatusNotFound, "not_found")
	want(t, "chat in another's session",
		s.do(http.MethodPost, "/api/chat", stranger, `{"prompt":"x","sessionId":"`+session+`"}`), http.StatusNotFound, "not_found")
	if got := s.do(http.MethodGet, "/api/sessions", stranger, ""); strings.TrimSpace(string(got.body)) != "[]" {
		t.Errorf("another's list: %s", got.body)
	}
	want(t, "failing model", s.do(http.MethodPost, "/api/chat", token, `{"prompt":"[[fail]]"}`), http.StatusBadGateway, "service_unavailable")
}

func TestSignInRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	var bodies []string
	for _, signature := range []string{"0x", "0x00", "0x" + strings.Repeat("00", 64), "0x" + strings.Repeat("00", 66), "zz"} {
		got := s.do(http.MethodPost, "/api/auth/siwe", "", `{"message":"m","signature":"`+signature+`"}`)
		want(t, signature, got, http.StatusUnauthorized, "invalid_signature")
		message, _ := got.field("message").(string)
		bodies = append(bodies, message)
	}
	for _, b := range bodies {
		if b != bodies[0] {
			t.Errorf("refusals differ: %q", bodies)
		}
	}
	want(t, "no signature", s.do(http.MethodPost, "/api/auth/siwe", "", `{"message":"m"}`), http.StatusBadRequest, "invalid_request")

	list, err := dixie.NewMemoryAllowlist(nil, []string{"dxk_12345678"})
	if err != nil {
		t.Fatal(err)
	}
	closed := start(t, nil, dixie.WithAllowlist(list))
	key, err := wallet.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	want(t, "wallet not listed", closed.signIn(key), http.StatusForbidden, "forbidden")
	want(t, "listed key", closed.do(http.MethodPost, "/api/chat", "dxk_12345678", `{"prompt":"x"}`), http.StatusOK, "")
	want(t, "unlisted key", closed.do(http.MethodPost, "/api/chat", "dxk_87654321", `{"prompt":"x"}`), http.StatusForbidden, "forbidden")
	want(t, "ticket for a key", closed.do(http.MethodPost, "/api/ws/ticket", "dxk_12345678", ""), http.StatusUnauthorized, "unauthorized")

	entry := `{"type":"wallet","value":"` + strings.ToLower(string(key.Address())) + `"}`
	want(t, "add without a key", closed.do(http.MethodPost, "/api/admin/allowlist", "", entry), http.StatusUnauthorized, "unauthorized")
	want(t, "add with a wrong key", closed.do(http.MethodPost, "/api/admin/allowlist", "wrong", entry), http.StatusForbidden, "forbidden")
	want(t, "add", closed.do(http.MethodPost, "/api/admin/allowlist", adminKey, entry), http.StatusCreated, "")
	nonsense := closed.do(http.MethodPost, "/api/admin/allowlist", adminKey, `{"type":"wallet","value":"x"}`)
	want(t, "add nonsense", nonsense, http.StatusBadRequest, "invalid_request")
	signedIn := closed.signIn(key)
	want(t, "now listed", signedIn, http.StatusOK, "")
	token, _ := signedIn.field("token").(string)
	want(t, "chat", closed.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`), http.StatusOK, "")
	want(t, "remove", closed.do(http.MethodDelete, "/api/admin/allowlist/"+string(key.Address()), adminKey, ""), http.StatusOK, "")
	want(t, "remove again", closed.do(http.MethodDelete, "/api/admin/allowlist/"+string(key.Address()), adminKey, ""), http.StatusNotFound, "not_found")
	want(t, "off the list, with a good token", closed.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`), http.StatusForbidden, "forbidden")
}
