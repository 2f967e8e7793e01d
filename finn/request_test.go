package finn_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/finn"
)

// recorded is what a server saw of a request.
type recorded struct {
	method, path, body string
	header             http.Header
}

func recorder(t *testing.T, status int, body string) (*finn.Client, func() recorded) {
	t.Helper()
	seen := make(chan recorded, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		seen <- recorded{r.Method, r.URL.RequestURI(), string(text), r.Header}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	client := newClient(t, finn.Config{URL: server.URL + "/base/", Token: "finn-secret"})
	return client, func() recorded { return <-seen }
}

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestRequestsOnTheWire(t *testing.T) {
	t.Parallel()
	caller := finn.Caller{RequestID: "req-1", Wallet: "0xWALLET", Address: "203.0.113.9"}
	wallet := "0x" + strings.Repeat("Ab", 20)
	for name, tc := range map[string]struct {
		status             int
		reply              string
		call               func(context.Context, *finn.Client) (any, error)
		method, path, body string
		want               any
	}{
		"create session": {
			status: 201, reply: `{"sessionId":"0b7c","created":"2026-02-03T04:05:06.789Z","wsUrl":"ws://x/ws/0b7c"}`,
			call: func(ctx context.Context, c *finn.Client) (any, error) {
				return c.CreateSession(ctx, finn.SessionOptions{})
			},
			method: "POST", path: "/base/api/sessions", body: `{}`,
			want: finn.Session{ID: "0b7c", Created: time.Date(2026, 2, 3, 4, 5, 6, 789e6, time.UTC)},
		},
		"create session with a token id": {
			status: 201, reply: `{"sessionId":"0b7c","created":"2026-02-03T04:05:06Z"}`,
			call: func(ctx context.Context, c *finn.Client) (any, error) {
				return c.CreateSession(ctx, finn.SessionOptions{TokenID: "42"})
			},
			method: "POST", path: "/base/api/sessions", body: `{"token_id":"42"}`,
			want: finn.Session{ID: "0b7c", Created: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)},
		},
		"send": {
			status: 200,
			reply: `{"response":"four","toolCalls":[{"name":"add","args":{"a":2},"result":"{\"sum\":4}"},` +
				`{"name":"note","args":null,"result":{"not":"a string"}}]}`,
			call:   func(ctx context.Context, c *finn.Client) (any, error) { return c.Send(ctx, sessionID, "2+2 <b>") },
			method: "POST", path: "/base/api/sessions/s-1/message", body: `{"text":"2+2 \u003cb\u003e"}`,
			want: finn.Turn{Response: "four", ToolCalls: []finn.ToolCall{
				{Name: "add", Args: json.RawMessage(`{"a":2}`), Result: `{"sum":4}`},
				{Name: "note", Result: `{"not":"a string"}`},
			}},
		},
		"session": {
			status: 200, reply: `{"id":"s-1","state":{"systemPrompt":"hush"},"isStreaming":true,"messageCount":7}`,
			call:   func(ctx context.Context, c *finn.Client) (any, error) { return c.Session(ctx, sessionID) },
			method: "GET", path: "/base/api/sessions/s-1",
			want: finn.SessionState{ID: "s-1", IsStreaming: true, MessageCount: 7},
		},
		"staked": {
			status: 200, reply: `{"wallet":"` + strings.ToLower(wallet) + `","bgtStaked":"1500.5"}`,
			call:   func(ctx context.Context, c *finn.Client) (any, error) { return c.Staked(ctx, wallet) },
			method: "GET", path: "/base/api/conviction/" + wallet + "/staking",
			want: 1500.5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, seen := recorder(t, tc.status, tc.reply)
			got, err := tc.call(finn.ContextWithCaller(t.Context(), caller), client)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			r := seen()
			if r.method != tc.method || r.path != tc.path || r.body != tc.body {
				t.Errorf("request %s %s %s, want %s %s %s", r.method, r.path, r.body, tc.method, tc.path, tc.body)
			}
			want := map[string]string{
				"Authorization": "Bearer finn-secret", "X-Request-Id": "req-1", "X-Wallet-Address": "0xWALLET",
				"Content-Type": "", "X-Req-Hash": "", "X-Idempotency-Key": "",
			}
			if tc.body != "" {
				hash := "sha256:" + sha(tc.body)
				want["Content-Type"] = "application/json"
				want["X-Req-Hash"] = hash
				path := strings.TrimPrefix(tc.path, "/base")
				want["X-Idempotency-Key"] = sha(`["0xWALLET","` + hash + `","loa-finn","` + path + `","req-1"]`)
			}
			for key, value := range want {
				if got := r.header.Get(key); got != value {
					t.Errorf("%s = %q, want %q", key, got, value)
				}
			}
		})
	}
}

func TestIdempotencyKeysOfEqualPromptsDiffer(t *testing.T) {
	t.Parallel()
	client, seen := recorder(t, http.StatusOK, `{"response":"x"}`)
	keys := map[string]bool{}
	for _, id := range []string{"", "", "a", "a\r\nX-Evil: 1", strings.Repeat("x", 200)} {
		ctx := finn.ContextWithCaller(t.Context(), finn.Caller{RequestID: id, Wallet: "bad\nwallet"})
		if _, err := client.Send(ctx, sessionID, "same"); err != nil {
			t.Fatal(err)
		}
		r := seen()
		keys[r.header.Get("X-Idempotency-Key")] = true
		if r.header.Get("X-Request-Id") == "" || r.header.Get("X-Evil") != "" || r.header.Get("X-Wallet-Address") != "" {
			t.Errorf("headers %v", r.header)
		}
	}
	if len(keys) != 5 {
		t.Errorf("%d different keys of 5", len(keys))
	}
}

func TestErrorsOfFinn(t *testing.T) {
	t.Parallel()
	const secret = "raw exception with sk-secret"
	for name, tc := range map[string]struct {
		status int
		body   string
		header string
		kind   error
		code   string
		retry  time.Duration
	}{
		"budget":             {402, `{"code":"BUDGET_EXCEEDED"}`, "", finn.ErrBudgetExceeded, "BUDGET_EXCEEDED", 0},
		"rate limit":         {429, `{"code":"RATE_LIMITED"}`, "", finn.ErrRateLimited, "RATE_LIMITED", time.Minute},
		"rate limit, header": {429, `{"code":"RATE_LIMITED"}`, "7", finn.ErrRateLimited, "RATE_LIMITED", 7 * time.Second},
		"rate limit, for days": {
			429, `{"code":"RATE_LIMITED"}`, "999999", finn.ErrRateLimited, "RATE_LIMITED", finn.MaxRetryAfter,
		},
		"other 429": {429, `{"code":"ORACLE_CONCURRENCY_EXCEEDED"}`, "5", finn.ErrRateLimited, "ORACLE_CONCURRENCY_EXCEEDED", 5 * time.Second},
		"model":     {422, `{"code":"ORACLE_MODEL_UNAVAILABLE"}`, "", finn.ErrModelUnavailable, "ORACLE_MODEL_UNAVAILABLE", 0},
		"provider":  {502, `{"code":"PROVIDER_UNAVAILABLE"}`, "", finn.ErrProvider, "PROVIDER_UNAVAILABLE", 0},
		"session":   {404, `{"error":"Session not found","code":"SESSION_NOT_FOUND"}`, "", finn.ErrSessionNotFound, "SESSION_NOT_FOUND", 0},
		"prompt":    {500, `{"error":"` + secret + `","code":"PROMPT_FAILED"}`, "", finn.ErrTurnFailed, "PROMPT_FAILED", 0},
		"no token":  {401, `{"code":"AUTH_REQUIRED"}`, "", finn.ErrCredential, "AUTH_REQUIRED", 0},
		"forbidden": {403, secret, "", finn.ErrCredential, "", 0},
		"plain 404": {404, "404 Not Found", "", finn.ErrRefused, "", 0},
		"other 4xx": {413, `{"code":"CONTEXT_OVERFLOW"}`, "", finn.ErrRefused, "CONTEXT_OVERFLOW", 0},
		"other 5xx": {500, `{"error":"` + secret + `"}`, "", finn.ErrUpstream, "", 0},
		"code in error": {
			503, `{"error":"BILLING_EVALUATOR_UNAVAILABLE","retry_after_seconds":30}`, "",
			finn.ErrUpstream, "BILLING_EVALUATOR_UNAVAILABLE", 30 * time.Second,
		},
		"code is a text":    {500, `{"error":"X","code":"` + secret + `"}`, "", finn.ErrUpstream, "X", 0},
		"code is no string": {500, `{"code":{"a":1},"error":[]}`, "", finn.ErrUpstream, "", 0},
		"html":              {502, "<html>" + secret, "soon", finn.ErrUpstream, "", 0},
		"redirect":          {307, secret, "", finn.ErrUpstream, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if tc.header != "" {
					w.Header().Set("Retry-After", tc.header)
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			_, err := client.Send(t.Context(), sessionID, "hi")
			wantError(t, err, tc.kind, tc.code)
			var e *finn.Error
			if errors.As(err, &e) && (e.Status != tc.status || e.RetryAfter != tc.retry) {
				t.Errorf("status %d, retry after %v, want %d, %v", e.Status, e.RetryAfter, tc.status, tc.retry)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q repeats Finn's text", err)
			}
		})
	}
}

func TestRefusedCredentialIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"token finn-secret is wrong","code":"AUTH_INVALID"}`)
	}))
	t.Cleanup(server.Close)
	client := newClient(t, finn.Config{
		URL: server.URL, Token: "finn-secret", Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	_, err := client.Send(t.Context(), sessionID, "my prompt")
	wantError(t, err, finn.ErrCredential, "AUTH_INVALID")
	line := log.String()
	if !strings.Contains(line, "level=ERROR msg=finn_credential_refused") || strings.Contains(line, "finn-secret") ||
		strings.Contains(line, "my prompt") {
		t.Errorf("log %q", line)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(trap.Close)
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, trap.URL, http.StatusTemporaryRedirect)
	})
	if _, err := client.Send(t.Context(), sessionID, "hi"); !errors.Is(err, finn.ErrUpstream) {
		t.Errorf("Send: %v", err)
	}
	if _, err := client.Stream(t.Context(), sessionID, "hi", nil); !errors.Is(err, finn.ErrUpstream) {
		t.Errorf("Stream: %v", err)
	}
	if elsewhere.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

func TestBrokenConnectionDoesNotRepeatThePrompt(t *testing.T) {
	t.Parallel()
	var posts atomic.Int32
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if posts.Add(1) == 1 {
			_, _ = io.WriteString(w, `{"response":"first"}`)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close() // After the prompt was taken, on a connection used before.
	})
	if _, err := client.Send(t.Context(), sessionID, "hi"); err != nil {
		t.Fatal(err)
	}
	_, err := client.Send(t.Context(), sessionID, "hi")
	wantError(t, err, finn.ErrUnavailable, finn.CodeUnreachable)
	if got := posts.Load(); got != 2 {
		t.Errorf("%d requests for two prompts", got)
	}
}

func TestOddAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		kind    error
		code    string
	}{
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"response":"`+strings.Repeat("x", 9<<20)+`"}`)
		}, finn.ErrUpstream, finn.CodeTooLarge},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, finn.ErrUpstream, finn.CodeTooLarge},
		"not JSON":     {text("<html>"), finn.ErrUpstream, finn.CodeMalformed},
		"empty body":   {text(""), finn.ErrUpstream, finn.CodeMalformed},
		"wrong types":  {text(`{"response":5}`), finn.ErrUpstream, finn.CodeMalformed},
		"empty answer": {text(`{"response":"","toolCalls":[]}`), finn.ErrTurnFailed, finn.CodeEmptyAnswer},
		"blank answer": {text(`{"response":" \n"}`), finn.ErrTurnFailed, finn.CodeEmptyAnswer},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"resp`)
		}, finn.ErrUnavailable, finn.CodeUnreachable},
		"hangs up": {func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_ = conn.Close()
			}
		}, finn.ErrUnavailable, finn.CodeUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := serve(t, tc.handler)
			_, err := client.Send(t.Context(), sessionID, "hi")
			wantError(t, err, tc.kind, tc.code)
		})
	}
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func TestToolsWithoutTextAreAnAnswer(t *testing.T) {
	t.Parallel()
	client := serve(t, text(`{"response":"","toolCalls":[{"name":"x","args":{},"result":""}]}`))
	if _, err := client.Send(t.Context(), sessionID, "hi"); err != nil {
		t.Error(err)
	}
}

func TestCreateSessionDistrustsTheID(t *testing.T) {
	t.Parallel()
	client := serve(t, text(`{"sessionId":"../admin","created":"2026-01-01T00:00:00Z"}`))
	_, err := client.CreateSession(t.Context(), finn.SessionOptions{})
	wantError(t, err, finn.ErrUpstream, finn.CodeMalformed)
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	client := newClient(t, finn.Config{URL: "http://" + address, Token: "finn-secret"})
	_, err = client.Send(t.Context(), sessionID, "hi")
	wantError(t, err, finn.ErrUnavailable, finn.CodeUnreachable)
	_, streamErr := client.Stream(t.Context(), sessionID, "hi", nil)
	wantError(t, streamErr, finn.ErrUnavailable, finn.CodeUnreachable)
	for cause := range causes(streamErr) {
		if strings.Contains(cause.Error(), "finn-secret") {
			t.Errorf("cause %q holds the token", cause)
		}
	}
}

// causes yields err and everything it wraps.
func causes(err error) func(func(error) bool) {
	return func(yield func(error) bool) {
		pending := []error{err}
		for len(pending) > 0 {
			e := pending[0]
			pending = pending[1:]
			if e == nil || !yield(e) {
				return
			}
			switch u := e.(type) { //nolint:errorlint // Walks the tree itself.
			case interface{ Unwrap() []error }:
				pending = append(pending, u.Unwrap()...)
			case interface{ Unwrap() error }:
				if inner := u.Unwrap(); inner != nil {
					pending = append(pending, inner)
				}
			}
		}
	}
}

func TestRetryAfterHeader(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-5": 0, "1.5": 0, "0": time.Second, " 12 ": 12 * time.Second,
		"86400":                         finn.MaxRetryAfter,
		"99999999999999999999":          0,
		"Thu, 01 Jan 2026 00:00:30 GMT": 30 * time.Second,
		"Wed, 31 Dec 2025 00:00:00 GMT": time.Second,
		"Fri, 01 Jan 2027 00:00:00 GMT": finn.MaxRetryAfter,
	} {
		if got := finn.RetryAfter(value, now); got != want {
			t.Errorf("Retry-After %q = %v, want %v", value, got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*finn.Error{
		"finn: failed":                     {},
		"finn: no answer: TIMEOUT":         {Kind: finn.ErrUnavailable, Code: finn.CodeTimeout},
		"finn: bad answer: X (HTTP 503)":   {Kind: finn.ErrUpstream, Code: "X", Status: 503},
		"finn: request refused (HTTP 418)": {Kind: finn.ErrRefused, Status: 418},
	} {
		if got := err.Error(); got != want {
			t.Errorf("text %q, want %q", got, want)
		}
	}
}
