package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dixie/finn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func environment(pairs ...string) func(string) string {
	values := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return values[name] }
}

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// program runs local-finn on a free port until stop, which returns its error.
func program(t *testing.T, getenv func(string) string, args ...string) (base string, out *output, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // Ends when the test says.
	listening := make(chan string, 1)
	ended := make(chan error, 1)
	out = &output{}
	go func() {
		ended <- run(ctx, append([]string{"-port", "0"}, args...), getenv, out, func(a string) { listening <- a })
	}()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()
			err = <-ended
		})
		return err
	}
	t.Cleanup(func() { _ = stop() })
	select {
	case address := <-listening:
		_, port, _ := net.SplitHostPort(address)
		return "http://127.0.0.1:" + port, out, stop
	case err := <-ended:
		ended <- err
		t.Fatalf("local-finn: %v\n%s", err, out)
		return "", nil, nil
	}
}

func client(t *testing.T, base, token string) *finn.Client {
	t.Helper()
	c, err := finn.New(finn.Config{URL: base, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestProgramEchoes(t *testing.T) {
	t.Parallel()
	base, out, stop := program(t, environment("FINN_AUTH_TOKEN", "finn-secret"), "-host", "127.0.0.1")
	turn, err := client(t, base, "finn-secret").Send(t.Context(), "demo", "hello")
	if err != nil || turn.Response != "You said: hello" {
		t.Errorf("turn %+v, %v", turn, err)
	}
	if _, err := client(t, base, "wrong").Send(t.Context(), "demo", "hello"); !errors.Is(err, finn.ErrCredential) {
		t.Errorf("error = %v", err)
	}
	if err := stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	for _, want := range []string{"local-finn listens on http://127.0.0.1:", "Try:", "curl", "asks for the token"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out.String(), "finn-secret") {
		t.Errorf("output holds the token:\n%s", out)
	}
}

func TestProgramAnswersWithAModel(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sk-secret" {
			t.Errorf("headers %v", r.Header)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"real"},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
	}))
	defer api.Close()
	base, out, stop := program(t, environment("OPENAI_BASE_URL", api.URL, "OPENAI_API_KEY", "sk-secret", "OPENAI_MODEL", "m1"))
	turn, err := client(t, base, "").Send(t.Context(), "demo", "hello")
	if err != nil || turn.Response != "real" {
		t.Errorf("turn %+v, %v", turn, err)
	}
	api.CloseClientConnections() // The responder's own pool would outlive the test.
	if err := stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if !strings.Contains(out.String(), "answers with m1 at "+api.URL) || strings.Contains(out.String(), "sk-secret") {
		t.Errorf("output:\n%s", out)
	}
}

func TestProgramLetsARunningTurnFinish(t *testing.T) {
	t.Parallel()
	base, _, stop := program(t, environment())
	c := client(t, base, "")
	session, err := c.CreateSession(t.Context(), finn.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	turn, err := c.Stream(t.Context(), session.ID, "[[tool t]] [[sleep 300ms]] bye", func(e finn.Event) error {
		if e.Kind == finn.ToolStart {
			go func() { stopped <- stop() }()
		}
		return nil
	})
	if err != nil || turn.Response != "You said: bye" {
		t.Errorf("turn %+v, %v", turn, err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	base, _, stop := program(t, environment())
	_, port, _ := strings.Cut(strings.TrimPrefix(base, "http://"), ":")
	check := func() error {
		return run(t.Context(), []string{"-healthcheck"}, environment("PORT", port), io.Discard, nil)
	}
	if err := check(); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := check(); err == nil {
		t.Error("no error once it has stopped")
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	type want struct {
		host, port string
		delay      time.Duration
		problem    string
	}
	for name, tc := range map[string]struct {
		env  []string
		args []string
		want want
	}{
		"nothing set":       {nil, nil, want{"127.0.0.1", "3000", 0, ""}},
		"token opens":       {[]string{"FINN_AUTH_TOKEN", "x"}, nil, want{"", "3000", 0, ""}},
		"token by flag":     {nil, []string{"-token", "x"}, want{"", "3000", 0, ""}},
		"host wins":         {[]string{"HOST", "0.0.0.0"}, nil, want{"0.0.0.0", "3000", 0, ""}},
		"port":              {[]string{"PORT", "3100"}, nil, want{"127.0.0.1", "3100", 0, ""}},
		"flag wins":         {[]string{"PORT", "3100"}, []string{"-port", "3200"}, want{"127.0.0.1", "3200", 0, ""}},
		"delay":             {[]string{"FINN_WORD_DELAY", "50ms"}, nil, want{"127.0.0.1", "3000", 50 * time.Millisecond, ""}},
		"port is no number": {[]string{"PORT", "http"}, nil, want{problem: "port"}},
		"port is too large": {nil, []string{"-port", "65536"}, want{problem: "port"}},
		"delay is no time":  {nil, []string{"-word-delay", "fast"}, want{problem: "word delay"}},
		"delay is negative": {nil, []string{"-word-delay", "-1s"}, want{problem: "word delay"}},
		"argument":          {nil, []string{"serve"}, want{problem: "serve"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := parseSettings(tc.args, environment(tc.env...), io.Discard)
			if tc.want.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want.problem) {
					t.Errorf("error = %v, want one about %s", err, tc.want.problem)
				}
				return
			}
			if err != nil || s.host != tc.want.host || s.port != tc.want.port || s.wordDelay != tc.want.delay {
				t.Errorf("settings %q %q %v, %v, want %+v", s.host, s.port, s.wordDelay, err, tc.want)
			}
		})
	}
}

func TestHelpHoldsNoSecret(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	_, err := parseSettings([]string{"-help"}, environment("FINN_AUTH_TOKEN", "finn-secret", "OPENAI_API_KEY", "sk-secret"), &out)
	if !errors.Is(err, flag.ErrHelp) || strings.Contains(out.String(), "secret") {
		t.Errorf("%v:\n%s", err, &out)
	}
}
