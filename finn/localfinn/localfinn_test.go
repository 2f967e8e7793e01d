package localfinn_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dixie/finn"
	"dixie/finn/localfinn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t testing.TB, cfg localfinn.Config) *localfinn.Local {
	t.Helper()
	l, err := localfinn.Start(cfg)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil { //nolint:usetesting // The test's context has ended.
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

func connect(t testing.TB, cfg localfinn.Config) (*finn.Client, *localfinn.Local) {
	t.Helper()
	l := start(t, cfg)
	client, err := finn.New(finn.Config{URL: l.URL(), Token: cfg.Token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, l
}

// script is a responder in a function.
type script func(ctx context.Context, turn localfinn.Turn, emit func(finn.Event)) error

func (script) Model() string { return "script" }

func (f script) Respond(ctx context.Context, turn localfinn.Turn, emit func(finn.Event)) error {
	return f(ctx, turn, emit)
}

func say(text string) finn.Event { return finn.Event{Kind: finn.TextDelta, Text: text} }

// changing replaces what differs from run to run.
var changing = regexp.MustCompile(
	`[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[0-9:.]+Z|"uptime":[0-9.e-]+|"(created|lastActivity)":\d+`)

// TestWire holds the server against the protocol, exchange by exchange. Each
// case runs on a server of its own; the last exchange is compared.
func TestWire(t *testing.T) {
	t.Parallel()
	type request struct{ method, path, auth, body string }
	const bearer = "Bearer finn-secret"
	for name, tc := range map[string]struct {
		before      []request
		request     request
		status      int
		contentType string
		body        string
	}{
		"health is open": {
			nil, request{"GET", "/health", "", ""}, 200, "application/json",
			`{"checks":{"agent":{"model":"echo","status":"ok"},"sessions":{"active":0}},"ready_for_billing":false,"status":"healthy","uptime":X}`,
		},
		"healthz is open": {nil, request{"GET", "/healthz", "", ""}, 200, "application/json", `{"status":"ok","uptime":X}`},
		"dependencies": {
			nil, request{"GET", "/health/deps", "", ""}, 200, "application/json", `{"checks":{},"status":"ready"}`,
		},
		"no token": {
			nil, request{"POST", "/api/sessions", "", "{}"}, 401, "application/json",
			`{"code":"AUTH_REQUIRED","error":"Unauthorized"}`,
		},
		"other scheme": {
			nil, request{"GET", "/api/sessions", "Basic finn-secret", ""}, 401, "application/json",
			`{"code":"AUTH_REQUIRED","error":"Unauthorized"}`,
		},
		"wrong token": {
			nil, request{"GET", "/api/sessions", "Bearer finn-secret2", ""}, 401, "application/json",
			`{"code":"AUTH_INVALID","error":"Unauthorized"}`,
		},
		"new session": {
			nil, request{"POST", "/api/sessions", bearer, `{"token_id":"7"}`}, 201, "application/json",
			`{"created":"X","sessionId":"X","wsUrl":"ws://finn.test/ws/X"}`,
		},
		"new session without a body": {
			nil, request{"POST", "/api/sessions", bearer, ""}, 201, "application/json",
			`{"created":"X","sessionId":"X","wsUrl":"ws://finn.test/ws/X"}`,
		},
		"new session with a bad body": {
			nil, request{"POST", "/api/sessions", "bearer finn-secret", "{{{"}, 201, "application/json",
			`{"created":"X","sessionId":"X","wsUrl":"ws://finn.test/ws/X"}`,
		},
		"message to an unknown session makes it": {
			nil, request{"POST", "/api/sessions/new-one/message", bearer, `{"text":"hi there"}`}, 200, "application/json",
			`{"response":"You said: hi there","toolCalls":[]}`,
		},
		"message with a tool": {
			nil, request{"POST", "/api/sessions/s/message", bearer, `{"text":"find it [[tool search]] please"}`}, 200, "application/json",
			`{"response":"You said: find it please","toolCalls":[{"name":"search","args":{"source":"local-finn"},"result":"{\"ok\":true}"}]}`,
		},
		"message to a model that fails": {
			nil, request{"POST", "/api/sessions/s/message", bearer, `{"text":"[[fail]]"}`}, 500, "application/json",
			`{"code":"PROMPT_FAILED","error":"The prompt failed"}`,
		},
		"message under the wrong name": {
			nil, request{"POST", "/api/sessions/s/message", bearer, `{"prompt":"hi"}`}, 400, "application/json",
			`{"code":"INVALID_REQUEST","error":"Message text required"}`,
		},
		"blank message": {
			nil, request{"POST", "/api/sessions/s/message", bearer, `{"text":" \n"}`}, 400, "application/json",
			`{"code":"INVALID_REQUEST","error":"Message text required"}`,
		},
		"message that is not JSON": {
			nil, request{"POST", "/api/sessions/s/message", bearer, `hi`}, 400, "application/json",
			`{"code":"INVALID_REQUEST","error":"Message text required"}`,
		},
		"message beyond the bound": {
			nil, request{"POST", "/api/sessions/s/message", bearer, `{"text":"` + strings.Repeat("x", 2<<20) + `"}`}, 400, "application/json",
			`{"code":"INVALID_REQUEST","error":"Message text required"}`,
		},
		"message to an odd id": {
			nil, request{"POST", "/api/sessions/a.b/message", bearer, `{"text":"hi"}`}, 404, "application/json",
			`{"code":"SESSION_NOT_FOUND","error":"Session not found"}`,
		},
		"no sessions": {nil, request{"GET", "/api/sessions", bearer, ""}, 200, "application/json", `{"sessions":[]}`},
		"sessions": {
			[]request{{"POST", "/api/sessions/one/message", bearer, `{"text":"hi"}`}},
			request{"GET", "/api/sessions", bearer, ""}, 200, "application/json",
			`{"sessions":[{"id":"one","created":X,"lastActivity":X}]}`,
		},
		"session state without the agent's": {
			[]request{{"POST", "/api/sessions/one/message", bearer, `{"text":"hi"}`}},
			request{"GET", "/api/sessions/one", bearer, ""}, 200, "application/json",
			`{"id":"one","isStreaming":false,"messageCount":2}`,
		},
		"unknown session": {
			nil, request{"GET", "/api/sessions/one", bearer, ""}, 404, "application/json",
			`{"code":"SESSION_NOT_FOUND","error":"Session not found"}`,
		},
		"look-up": {
			nil, request{"GET", "/api/conviction/0xabc/staking", bearer, ""}, 404, "text/plain; charset=UTF-8", "404 Not Found",
		},
		"look-up without a token": {
			nil, request{"GET", "/api/conviction/0xabc/staking", "", ""}, 401, "application/json",
			`{"code":"AUTH_REQUIRED","error":"Unauthorized"}`,
		},
		"other method": {nil, request{"DELETE", "/api/sessions", bearer, ""}, 404, "text/plain; charset=UTF-8", "404 Not Found"},
		"unknown path": {nil, request{"GET", "/nothing", "", ""}, 404, "text/plain; charset=UTF-8", "404 Not Found"},
		"socket without a token": {
			nil, request{"GET", "/ws/one", bearer, ""}, 401, "", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := localfinn.New(localfinn.Config{Token: "finn-secret"})
			defer func() { _ = server.Close(t.Context()) }()
			var w *httptest.ResponseRecorder
			for _, r := range append(tc.before, tc.request) {
				w = httptest.NewRecorder()
				req := httptest.NewRequestWithContext(t.Context(), r.method, "http://finn.test"+r.path, strings.NewReader(r.body))
				if r.auth != "" {
					req.Header.Set("Authorization", r.auth)
				}
				server.ServeHTTP(w, req)
			}
			if w.Code != tc.status || w.Header().Get("Content-Type") != tc.contentType {
				t.Errorf("status %d, %q, want %d, %q", w.Code, w.Header().Get("Content-Type"), tc.status, tc.contentType)
			}
			got := changing.ReplaceAllStringFunc(w.Body.String(), func(s string) string {
				if key, _, found := strings.Cut(s, `":`); found && s[0] == '"' {
					return key + `":X`
				}
				return "X"
			})
			if diff := cmp.Diff(tc.body, got); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWebPagesOfOtherOriginsAreRefused(t *testing.T) {
	t.Parallel()
	server := localfinn.New(localfinn.Config{})
	defer func() { _ = server.Close(t.Context()) }()
	for site, want := range map[string]int{"cross-site": 403, "same-origin": 200, "": 200} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/api/sessions/s/message",
			strings.NewReader(`{"text":"hi"}`))
		if site != "" {
			req.Header.Set("Sec-Fetch-Site", site)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("Sec-Fetch-Site %q: status %d, want %d", site, w.Code, want)
		}
	}
}

func TestClosedServerRefusesPrompts(t *testing.T) {
	t.Parallel()
	server := localfinn.New(localfinn.Config{})
	for range 2 {
		if err := server.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/sessions/s/message",
		strings.NewReader(`{"text":"hi"}`)))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status %d", w.Code)
	}
}

func TestLocalCloseIsIdempotentAndFreesThePort(t *testing.T) {
	t.Parallel()
	l, err := localfinn.Start(localfinn.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.URL()+"/health", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := (&http.Client{}).Do(req); err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		t.Error("the port still answers")
	}
}
