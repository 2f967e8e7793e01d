package finn_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dixie/finn"
	"dixie/finn/localfinn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sessionID = "s-1"

func newClient(t testing.TB, cfg finn.Config) *finn.Client {
	t.Helper()
	client, err := finn.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// serve starts an HTTP server for one test and returns a client of it.
func serve(t *testing.T, handler http.HandlerFunc) *finn.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return newClient(t, finn.Config{URL: server.URL})
}

// local starts a local Finn and returns a client of it.
func local(t testing.TB, cfg localfinn.Config) *finn.Client {
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
	return newClient(t, finn.Config{URL: l.URL(), Token: cfg.Token})
}

// roundTrip is a Finn in a function, for tests with virtual time.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(r *http.Request, status int, body string) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.WriteHeader(status)
	_, err := w.WriteString(body)
	response := w.Result()
	response.Request = r
	return response, err
}

// hang answers when the caller gives up.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// memory is a listener whose connections are pipes, for servers in a synctest
// bubble.
type memory struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (*memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (m *memory) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case m.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inMemory serves handler over pipes and returns a client of it, and a
// function that ends both.
func inMemory(t *testing.T, handler http.Handler, cfg finn.Config) (*finn.Client, func()) {
	t.Helper()
	listener := newMemory()
	server := &http.Server{Handler: handler}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	transport := &http.Transport{DialContext: listener.dial}
	cfg.URL = "http://finn.test"
	cfg.HTTPClient = &http.Client{Transport: transport}
	client := newClient(t, cfg)
	return client, func() {
		_ = client.Close()
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
	}
}

func wantError(t *testing.T, err, kind error, code string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error = %v, want %v", err, kind)
	}
	var e *finn.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error = %v, want code %s", err, code)
	}
}

func TestNewReportsEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := finn.New(finn.Config{
		URL: "http://user:secret@finn", WebSocketURL: "gopher://finn", Token: "with\nnewline",
		ControlTimeout: -1, TurnTimeout: -1, IdleTimeout: -1,
	})
	if !errors.Is(err, finn.ErrConfig) {
		t.Fatalf("error = %v, want ErrConfig", err)
	}
	for _, want := range []string{"URL:", "WebSocketURL:", "Token", "ControlTimeout", "TurnTimeout", "IdleTimeout"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "newline") {
		t.Errorf("error %q repeats a secret", err)
	}
}

func TestNewChecksURLs(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"http://finn:3000":       true,
		"https://finn/base/":     true,
		"":                       false,
		"finn:3000":              false,
		"ftp://finn":             false,
		"http://":                false,
		"http://finn?token=x":    false,
		"http://finn#x":          false,
		"http://finn\x7f":        false,
		"http://user@finn":       false,
		"http://[::1]:3000":      true,
		"http://finn.internal/?": false,
	} {
		client, err := finn.New(finn.Config{URL: text})
		if (err == nil) != ok {
			t.Errorf("New(%q) error = %v, want ok %v", text, err, ok)
		}
		if err == nil {
			_ = client.Close()
		}
	}
}

func TestValidSessionID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"a": true, "A_9-z": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a/b": false, "a b": false, "..": false, "ä": false, "a%2fb": false,
	} {
		if got := finn.ValidSessionID(id); got != want {
			t.Errorf("ValidSessionID(%q) = %v, want %v", id, got, want)
		}
	}
}

func TestUncheckedIDsReachNoPath(t *testing.T) {
	t.Parallel()
	client := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("request to %s", r.URL) })
	for _, id := range []string{"", "chat/x", "../health", "a?b", strings.Repeat("x", 200)} {
		_, err := client.Send(t.Context(), id, "hi")
		wantError(t, err, finn.ErrSessionNotFound, finn.CodeInvalidID)
		_, err = client.Stream(t.Context(), id, "hi", nil)
		wantError(t, err, finn.ErrSessionNotFound, finn.CodeInvalidID)
		_, err = client.Session(t.Context(), id)
		wantError(t, err, finn.ErrSessionNotFound, finn.CodeInvalidID)
	}
	for _, text := range []string{"", " \n\t", "\xff", strings.Repeat("x", finn.MaxFrame)} {
		_, err := client.Send(t.Context(), sessionID, text)
		wantError(t, err, finn.ErrRefused, finn.CodeInvalidText)
		_, err = client.Stream(t.Context(), sessionID, text, nil)
		wantError(t, err, finn.ErrRefused, finn.CodeInvalidText)
	}
	for _, wallet := range []string{"", "0x12", "0x" + strings.Repeat("g", 40), "../../health"} {
		_, err := client.Staked(t.Context(), wallet)
		wantError(t, err, finn.ErrRefused, finn.CodeInvalidWallet)
	}
}

// TestTimeoutOfTheHTTPClientIsNotUsed: it would end a turn in the middle, and every call alike.
func TestTimeoutOfTheHTTPClientIsNotUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		caller := &http.Client{Timeout: time.Second, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(2 * time.Second):
				return works(r)
			case <-r.Context().Done():
				return nil, context.Cause(r.Context())
			}
		})}
		client := newClient(t, finn.Config{URL: "http://finn.test", HTTPClient: caller})
		if turn, err := client.Send(t.Context(), sessionID, "hi"); err != nil || turn.Response != "hello" {
			t.Errorf("Send = %q, %v", turn.Response, err)
		}
		if caller.Timeout != time.Second || caller.CheckRedirect != nil {
			t.Errorf("the caller's client was changed: %+v", caller)
		}
	})
}

func TestClosedClient(t *testing.T) {
	t.Parallel()
	client := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("request to %s", r.URL) })
	if err := errors.Join(client.Close(), client.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := client.Send(t.Context(), sessionID, "hi")
	wantError(t, err, finn.ErrUnavailable, finn.CodeClosed)
	_, err = client.Stream(t.Context(), sessionID, "hi", nil)
	wantError(t, err, finn.ErrUnavailable, finn.CodeClosed)
	_, err = client.Staked(t.Context(), "0x"+strings.Repeat("a", 40))
	wantError(t, err, finn.ErrUnavailable, finn.CodeClosed)
	if h := client.Health(t.Context()); h.Healthy || h.Err != finn.CodeClosed {
		t.Errorf("Health = %+v", h)
	}
}
