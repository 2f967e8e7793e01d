package dixie_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie"
	"dixie/finn"
	"dixie/internal/wallet"
)

// TestPaymentSeesWhoCalls is about the slot between allowlist and tier: what it is asked, what it knows,
// and that no claim of a client reaches it.
func TestPaymentSeesWhoCalls(t *testing.T) {
	t.Parallel()
	list, err := dixie.NewMemoryAllowlist(nil, []string{"dxk_12345678"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := wallet.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := list.Add(t.Context(), dixie.EntryWallet, string(key.Address())); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	s := start(t, nil, dixie.WithAllowlist(list), dixie.WithPayment(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			for name := range r.Header {
				if strings.HasPrefix(name, "X-Operator-") || strings.HasPrefix(name, "X-Agent-") || strings.HasPrefix(name, "X-Conviction-") ||
					name == "X-Wallet-Address" || name == "X-Model-Pool" || name == "X-Memory-Context" {
					t.Errorf("the header %s came through", name)
				}
			}
			p := dixie.PrincipalFrom(r.Context())
			if p.Kind == dixie.PrincipalAPIKey {
				next.ServeHTTP(w, r)
				return
			}
			w.WriteHeader(http.StatusPaymentRequired)
			_, _ = fmt.Fprintf(w, `{"error":"payment_required","message":"%s %s %s","request_id":%q}`,
				p.Kind, p.Wallet, p.Role, w.Header().Get("X-Request-ID"))
		})
	}))
	s.client = &http.Client{Transport: &http.Transport{}} // The answers of a payment check are not described.
	t.Cleanup(s.client.CloseIdleConnections)
	token, _ := s.signIn(key).field("token").(string)
	want(t, "health", s.do(http.MethodGet, "/api/health", token, ""), http.StatusOK, "")
	want(t, "admin", s.do(http.MethodGet, "/api/admin/allowlist", adminKey, ""), http.StatusOK, "")
	if asked.Load() != 0 {
		t.Errorf("payment was asked %d times on the way in", asked.Load())
	}
	got := s.do(http.MethodGet, "/api/sessions", token, "", "X-Wallet-Address", string(wallet.TestAddress), "X-Operator-Id", "x",
		"X-Operator-Anything", "x", "X-Agent-Owner", "x", "X-Conviction-Tier", "sovereign", "X-Model-Pool", "x", "X-Memory-Context", "x")
	want(t, "who has not paid", got, http.StatusPaymentRequired, "payment_required")
	if got.field("message") != "wallet "+string(key.Address())+" team" {
		t.Errorf("the principal: %s", got.body)
	}
	want(t, "who has paid", s.do(http.MethodGet, "/api/sessions", "dxk_12345678", ""), http.StatusOK, "")
	if p := dixie.PrincipalFrom(t.Context()); p != (dixie.Principal{Kind: dixie.PrincipalNone}) {
		t.Errorf("outside of a request: %+v", p)
	}
}

// TestExemptPathsAreWholeSegments: a path that only begins like one that needs no caller needs one.
func TestExemptPathsAreWholeSegments(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	for _, path := range []string{"/api/healthy", "/api/authority", "/api/administrator", "/api/reputation/populations", "/api/openapi.yaml/x"} {
		want(t, path, s.do(http.MethodGet, path, "", ""), http.StatusUnauthorized, "unauthorized")
	}
}

type failingLimiter struct{}

func (failingLimiter) Allow(context.Context, string, int) (dixie.RateDecision, error) {
	return dixie.RateDecision{}, errors.New("redis: connection refused")
}

// TestLimiterAway is decision 17: the process counts by itself, it does not let everything through.
func TestLimiterAway(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: 12, Limiter: failingLimiter{}}))
	for i := range 10 {
		want(t, fmt.Sprintf("nonce %d", i), s.do(http.MethodGet, "/api/auth/nonce", "", ""), http.StatusOK, "")
	}
	refused := s.do(http.MethodGet, "/api/auth/nonce", "", "")
	want(t, "the 11th nonce", refused, http.StatusTooManyRequests, "rate_limited")
	if refused.header.Get("X-Ratelimit-Limit") != "10" || refused.header.Get("X-Ratelimit-Remaining") != "0" {
		t.Errorf("its headers: %v", refused.header)
	}
	want(t, "the 12th request", s.do(http.MethodGet, "/api/health", "", ""), http.StatusOK, "")
	want(t, "the 13th request", s.do(http.MethodGet, "/api/health", "", ""), http.StatusTooManyRequests, "rate_limited")
}

// moodyLimiter fails for as long as it is told to.
type moodyLimiter struct{ fails *atomic.Bool }

func (l moodyLimiter) Allow(ctx context.Context, identity string, limit int) (dixie.RateDecision, error) {
	if l.fails.Load() {
		return failingLimiter{}.Allow(ctx, identity, limit)
	}
	return dixie.RateDecision{Allowed: true, Limit: limit, Remaining: limit}, nil
}

// TestLimiterAwayIsSaidOnce: an outage of the limiter is one line in the log, however many requests it meets,
// and its end another.
func TestLimiterAwayIsSaidOnce(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	var fails atomic.Bool
	s := start(t, nil, dixie.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
		dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: 1000, Limiter: moodyLimiter{&fails}}))
	for outage := 1; outage <= 2; outage++ {
		for _, away := range []bool{true, false} {
			fails.Store(away)
			for range 5 {
				want(t, "health", s.do(http.MethodGet, "/api/health", "", ""), http.StatusOK, "")
			}
		}
		for _, line := range []string{"rate limiter failed", "rate limiter answers again"} {
			if n := strings.Count(log.String(), line); n != outage {
				t.Errorf("%q is there %d times after %d outages", line, n, outage)
			}
		}
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // GUARDED_BY(mu)
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestForwardedFor: behind a trusted proxy the rightmost hop that is none counts, and nothing left of it.
func TestForwardedFor(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithRateLimit(dixie.RateLimitConfig{
		PerMinute: 1, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")},
	}))
	for i, tc := range []struct {
		forwarded string
		status    int
	}{
		{"203.0.113.1, 10.0.0.1", http.StatusOK},
		{"198.51.100.7, 203.0.113.1, 10.0.0.1", http.StatusTooManyRequests}, // The first hop is the client's claim.
		{"203.0.113.2", http.StatusOK},
		{"203.0.113.2, 203.0.113.3", http.StatusOK},
		{"2001:db8::1", http.StatusOK},
		{"2001:db8::2", http.StatusTooManyRequests}, // The same /64.
		{"nonsense", http.StatusOK},                 // The proxy itself.
	} {
		if got := s.do(http.MethodGet, "/api/health", "", "", "X-Forwarded-For", tc.forwarded); got.status != tc.status {
			t.Errorf("request %d for %q: %d, want %d", i, tc.forwarded, got.status, tc.status)
		}
	}
}

func TestPanicAfterTheFirstByte(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithPayment(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic("x") //nolint:forbidigo // It is what the test is about.
		})
	}))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/sessions", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token())
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("half an answer looks whole: %q", body)
	}
}

// hurried is a connection on which the deadlines of one direction come soon, so that a test need not wait for them. The
// other's stay: an answer that is refused for the sake of one takes its own time.
type hurried struct {
	net.Conn

	reads, writes bool
}

func soon(t time.Time, hurry bool) time.Time {
	if t.IsZero() || !hurry {
		return t
	}
	return time.Now().Add(20 * time.Millisecond)
}

func (c hurried) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(soon(t, c.reads)) }
func (c hurried) SetWriteDeadline(t time.Time) error {
	return c.Conn.SetWriteDeadline(soon(t, c.writes))
}

type hurriedListener struct {
	net.Listener

	reads, writes bool
}

func (l hurriedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return hurried{conn, l.reads, l.writes}, err
}

// startHurried serves a handler on connections that are hurried in these directions, and dials one.
func startHurried(t *testing.T, reads, writes bool) (*dixie.Handler, net.Conn) {
	t.Helper()
	h, err := dixie.New(dixie.WithEnvironment(dixie.Test), dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: -1}))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	server.Listener = hurriedListener{server.Listener, reads, writes}
	server.Start()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Close()
		_ = h.Shutdown(context.WithoutCancel(t.Context()))
	})
	return h, conn
}

// TestClientThatDoesNotRead: what a client leaves unread holds no handler up for longer than a write may
// take, which the connection of this test cuts short.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	h, conn := startHurried(t, false, true)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range 2_000 {
			if _, err := io.WriteString(conn, "GET /api/openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				return // The server has given this client up.
			}
		}
	}()
	<-written
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		t.Errorf("a handler is held up: %v", err)
	}
}

// TestClientThatDoesNotWrite: a body that does not come ends in 503, after the limit of a request.
func TestClientThatDoesNotWrite(t *testing.T) {
	t.Parallel()
	_, conn := startHurried(t, true, false)
	if _, err := io.WriteString(conn, "POST /api/auth/siwe HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), `"error":"timeout"`) {
		t.Errorf("%d %s, %v", response.StatusCode, body, err)
	}
}

func TestWhatAcceptMeans(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	for accept, stream := range map[string]bool{
		"text/event-stream": true, "TEXT/Event-Stream; q=0.9": true, "application/json, text/event-stream;q=0.1": true,
		"text/event-stream;q=0": false, "text/event-stream; charset=utf-8; q=0.000": false, "text/*": false, "": false, "*/*": false,
	} {
		got := s.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`, "Accept", accept)
		if is := got.header.Get("Content-Type") == "text/event-stream"; got.status != http.StatusOK || is != stream {
			t.Errorf("%q: %d %s", accept, got.status, got.header.Get("Content-Type"))
		}
	}
}

func TestShutdownTwice(t *testing.T) {
	t.Parallel()
	g := gated{make(chan struct{})}
	s := start(t, g)
	s.cut = true
	token := s.token()
	result := make(chan answer, 1)
	go func() { result <- s.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`) }()
	for s.do(http.MethodGet, "/api/sessions", token, "").body[1] == ']' {
		continue // Until the turn has begun.
	}
	patient := make(chan error, 1)
	go func() { patient <- s.handler.Shutdown(t.Context()) }()
	for s.do(http.MethodGet, "/livez", "", "").status == http.StatusOK {
		continue // Until the first call has begun.
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	second := s.handler.Shutdown(impatient)
	if first := <-patient; first == nil || first != second { //nolint:errorlint // The very same is meant.
		t.Errorf("%v and %v, want the same error", first, second)
	}
	want(t, "the turn that was cut", <-result, http.StatusServiceUnavailable, "shutting_down")
}

func TestShutdownOfAnIdleHandlerNeedsNoTime(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		h, err := dixie.New(dixie.WithEnvironment(dixie.Test), dixie.WithFinn(finn.Config{URL: "http://127.0.0.1:1"}))
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Shutdown(ended); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewValidatesEveryArea(t *testing.T) {
	t.Parallel()
	_, err := dixie.New(
		nil,
		dixie.WithEnvironment(dixie.Test),
		dixie.WithAuth(dixie.AuthConfig{TokenSecret: []byte("short"), AdminKey: "dxk_12345678"}),
		dixie.WithFleet(dixie.FleetConfig{Workers: -1}),
		dixie.WithGovernance(dixie.GovernanceConfig{Admins: []string{string(wallet.TestAddress), "nonsense"}}),
	)
	if err == nil {
		t.Fatal("accepted")
	}
	var missing []string
	for _, part := range []string{"option 1 is nil", "5 bytes", "must not begin with dxk_", "Workers is negative", "entry 2 of Admins"} {
		if !strings.Contains(err.Error(), part) {
			missing = append(missing, part)
		}
	}
	if diff := cmp.Diff([]string(nil), missing); diff != "" {
		t.Errorf("not in %v: %s", err, diff)
	}
}
