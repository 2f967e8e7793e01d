package finn_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dixie/finn"
)

// backend is a Finn whose behaviour a test changes as it goes.
type backend struct {
	mu     sync.Mutex
	do     func(*http.Request) (*http.Response, error)
	calls  int
	client *finn.Client
	log    bytes.Buffer
	seen   []finn.CircuitChange
}

func (b *backend) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	b.calls++
	do := b.do
	b.mu.Unlock()
	return do(r)
}

func (b *backend) set(do func(*http.Request) (*http.Response, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.do = do
}

func newBackend(t *testing.T, do func(*http.Request) (*http.Response, error)) *backend {
	t.Helper()
	b := &backend{do: do}
	b.client = newClient(t, finn.Config{
		URL: "http://finn.test", HTTPClient: &http.Client{Transport: b},
		Logger: slog.New(slog.NewJSONHandler(&b.log, nil)),
		OnCircuitChange: func(c finn.CircuitChange) {
			b.seen = append(b.seen, c)
			// A callback that looks at the breaker must not find it locked.
			_ = b.client.CircuitState()
		},
	})
	return b
}

func (b *backend) send(ctx context.Context) error {
	_, err := b.client.Send(ctx, sessionID, "hi")
	return err
}

func (b *backend) sendTimes(t *testing.T, n int) {
	t.Helper()
	for range n {
		if err := b.send(t.Context()); errors.Is(err, finn.ErrCircuitOpen) {
			t.Fatalf("circuit opened too soon: %v", err)
		}
	}
}

func (b *backend) wantState(t *testing.T, want finn.CircuitState) {
	t.Helper()
	if got := b.client.CircuitState(); got != want {
		t.Fatalf("state = %v, want %v", got, want)
	}
}

func status(code int, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) { return answer(r, code, body) }
}

func works(r *http.Request) (*http.Response, error) {
	return answer(r, http.StatusOK, `{"response":"hello","toolCalls":[]}`)
}

func breaks(r *http.Request) (*http.Response, error) {
	return answer(r, http.StatusInternalServerError, `{"error":"boom","code":"INTERNAL_ERROR"}`)
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, breaks)
		b.sendTimes(t, 4)
		b.wantState(t, finn.Closed)
		b.sendTimes(t, 1)
		b.wantState(t, finn.Open)

		err := b.send(t.Context())
		wantError(t, err, finn.ErrCircuitOpen, finn.CodeCircuitOpen)
		var e *finn.Error
		if !errors.As(err, &e) || e.RetryAfter != finn.OpenPeriod {
			t.Errorf("RetryAfter = %v, want %v", e.RetryAfter, finn.OpenPeriod)
		}
		time.Sleep(9500 * time.Millisecond) // fake clock
		if err := b.send(t.Context()); !errors.As(err, &e) || e.RetryAfter != time.Second {
			t.Errorf("after 9.5 s: %v with RetryAfter %v, want 1s", err, e.RetryAfter)
		}
		if b.calls != 5 {
			t.Errorf("an open circuit let %d calls through", b.calls-5)
		}

		time.Sleep(time.Second) // fake clock
		b.wantState(t, finn.HalfOpen)
		b.sendTimes(t, 1) // The probe fails.
		b.wantState(t, finn.Open)
		time.Sleep(11 * time.Second) // fake clock
		b.set(works)
		if err := b.send(t.Context()); err != nil {
			t.Fatalf("probe: %v", err)
		}
		b.wantState(t, finn.Closed)

		want := []finn.CircuitChange{
			{From: finn.Closed, To: finn.Open, ConsecutiveFailures: 5},
			{From: finn.Open, To: finn.HalfOpen, ConsecutiveFailures: 5},
			{From: finn.HalfOpen, To: finn.Open, ConsecutiveFailures: 6},
			{From: finn.Open, To: finn.HalfOpen, ConsecutiveFailures: 6},
			{From: finn.HalfOpen, To: finn.Closed, ConsecutiveFailures: 0},
		}
		if diff := cmp.Diff(want, b.seen, cmpopts.IgnoreFields(finn.CircuitChange{}, "At")); diff != "" {
			t.Errorf("transitions (-want +got):\n%s", diff)
		}
		wantLog := []map[string]any{}
		for i, level := range []string{"ERROR", "WARN", "ERROR", "WARN", "INFO"} {
			wantLog = append(wantLog, map[string]any{
				"level": level, "msg": "circuit_breaker_transition", "service": "loa-finn",
				"from": want[i].From.String(), "to": want[i].To.String(), "circuit_state": want[i].To.String(),
				"consecutive_failures": float64(want[i].ConsecutiveFailures),
			})
		}
		var gotLog []map[string]any
		for line := range strings.Lines(b.log.String()) {
			var record map[string]any
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				t.Fatal(err)
			}
			delete(record, "time")
			gotLog = append(gotLog, record)
		}
		if diff := cmp.Diff(wantLog, gotLog); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestBreakerOpensWhenCallsHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, hang)
		start := time.Now()
		b.sendTimes(t, finn.FailureThreshold)
		b.wantState(t, finn.Open)
		if took := time.Since(start); took != finn.FailureThreshold*finn.DefaultTurnTimeout {
			t.Errorf("five turns took %v", took)
		}
	})
}

func TestBreakerForgetsAfterAPause(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pause time.Duration
		want  finn.CircuitState
	}{
		{finn.FailureGap, finn.Open},
		{finn.FailureGap + time.Millisecond, finn.Closed},
	} {
		t.Run(tc.pause.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBackend(t, hang) // The length of the calls is no pause.
				b.sendTimes(t, 4)
				time.Sleep(tc.pause) // fake clock
				b.sendTimes(t, 1)
				b.wantState(t, tc.want)
			})
		})
	}
}

func TestBreakerForgetsOnSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, breaks)
		for range 3 {
			b.set(breaks)
			b.sendTimes(t, 4)
			b.set(works)
			b.sendTimes(t, 1)
		}
		b.wantState(t, finn.Closed)
	})
}

func TestBreakerWhatCounts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do   func(*http.Request) (*http.Response, error)
		open bool
	}{
		"transport error":          {func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }, true},
		"500":                      {breaks, true},
		"502 without a code":       {status(502, "<html>"), true},
		"503 with another code":    {status(503, `{"code":"GLOBAL_CAP_EXCEEDED"}`), true},
		"PROMPT_FAILED":            {status(500, `{"code":"PROMPT_FAILED"}`), true},
		"SESSION_CREATE_FAILED":    {status(500, `{"code":"SESSION_CREATE_FAILED"}`), false},
		"429":                      {status(429, ""), false},
		"401":                      {status(401, `{"code":"AUTH_INVALID"}`), false},
		"404":                      {status(404, "404 Not Found"), false},
		"a redirect":               {status(302, ""), false},
		"an answer without sense":  {status(200, "<html>"), false},
		"an empty answer":          {status(200, `{"response":"","toolCalls":[]}`), false},
		"the body breaks off":      {brokenBody, true},
		"the body trickles":        {tricklingBody, true},
		"hangs until the time out": {hang, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBackend(t, tc.do)
				for range finn.FailureThreshold {
					if err := b.send(t.Context()); err == nil {
						t.Fatal("no error")
					}
				}
				if open := b.client.CircuitState() == finn.Open; open != tc.open {
					t.Errorf("open = %v, want %v", open, tc.open)
				}
			})
		})
	}
}

type failingBody struct{}

func (failingBody) Read([]byte) (int, error) { return 0, errors.New("reset") }
func (failingBody) Close() error             { return nil }

func brokenBody(r *http.Request) (*http.Response, error) {
	response, err := answer(r, http.StatusOK, "")
	response.Body = failingBody{}
	return response, err
}

// trickle is a body that comes byte by byte and has no end.
type trickle struct{ ctx context.Context }

func (b trickle) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
}

func (trickle) Close() error { return nil }

func tricklingBody(r *http.Request) (*http.Response, error) {
	response, err := answer(r, http.StatusOK, "")
	response.Body = trickle{r.Context()}
	return response, err
}

func TestBreakerAndTheCallersContext(t *testing.T) {
	t.Parallel()
	create := func(ctx context.Context, client *finn.Client) error {
		_, err := client.CreateSession(ctx, finn.SessionOptions{})
		return err
	}
	send := func(ctx context.Context, client *finn.Client) error {
		_, err := client.Send(ctx, sessionID, "hi")
		return err
	}
	for name, tc := range map[string]struct {
		call   func(context.Context, *finn.Client) error
		limit  time.Duration
		cancel bool
		open   bool
	}{
		"cancelled after a minute":                {send, time.Minute, true, false},
		"deadline within the control limit":       {send, 4 * time.Second, false, false},
		"deadline after the control limit":        {send, 15 * time.Second, false, false},
		"deadline before the idle limit":          {send, finn.DefaultIdleTimeout - time.Second, false, false},
		"deadline at the idle limit":              {send, finn.DefaultIdleTimeout, false, true},
		"deadline at the turn limit":              {send, finn.DefaultTurnTimeout, false, true},
		"control call, deadline within its limit": {create, 4 * time.Second, false, false},
		"control call, deadline after its limit":  {create, 15 * time.Second, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBackend(t, hang)
				for range finn.FailureThreshold {
					ctx, cancel := context.WithCancel(t.Context())
					if tc.cancel {
						time.AfterFunc(tc.limit, cancel)
					} else {
						ctx, cancel = context.WithTimeout(t.Context(), tc.limit)
					}
					err := tc.call(ctx, b.client)
					cancel()
					want := context.DeadlineExceeded
					if tc.cancel {
						want = context.Canceled
					}
					if !errors.Is(err, want) || errors.Is(err, finn.ErrUnavailable) == tc.cancel {
						t.Fatalf("error = %v", err)
					}
				}
				if open := b.client.CircuitState() == finn.Open; open != tc.open {
					t.Errorf("open = %v, want %v", open, tc.open)
				}
			})
		})
	}
}

// A turn that waited in line has little time left. Finn is not to blame that it
// needs more, and answers those who give it time.
func TestTurnsThatWaitedInLineDoNotOpenTheCircuit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, func(r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(20 * time.Second):
				return works(r)
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		for range 2 * finn.FailureThreshold {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			err := b.send(ctx)
			cancel()
			wantError(t, err, finn.ErrUnavailable, finn.CodeTimeout)
		}
		b.wantState(t, finn.Closed)
		if err := b.send(t.Context()); err != nil {
			t.Errorf("with time enough: %v", err)
		}
	})
}

func TestBreakerLetsOneProbeThrough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, breaks)
		b.sendTimes(t, finn.FailureThreshold)
		time.Sleep(11 * time.Second) // fake clock
		b.set(hang)
		ctx, cancel := context.WithCancel(t.Context())
		probe := make(chan error, 1)
		go func() { probe <- b.send(ctx) }()
		synctest.Wait()
		before := b.calls
		err := b.send(t.Context())
		wantError(t, err, finn.ErrCircuitOpen, finn.CodeCircuitOpen)
		var e *finn.Error
		if errors.As(err, &e) && e.RetryAfter != time.Second {
			t.Errorf("RetryAfter = %v, want 1s", e.RetryAfter)
		}
		if b.calls != before {
			t.Error("a second call got through")
		}
		// A probe that is cancelled says nothing and gives its permit back.
		cancel()
		if err := <-probe; !errors.Is(err, context.Canceled) {
			t.Fatalf("probe: %v", err)
		}
		b.wantState(t, finn.HalfOpen)
		b.set(works)
		if err := b.send(t.Context()); err != nil {
			t.Fatalf("second probe: %v", err)
		}
		b.wantState(t, finn.Closed)
	})
}

func TestBreakerIgnoresCallsFromBeforeItOpened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := newBackend(t, func(r *http.Request) (*http.Response, error) {
			<-release
			return breaks(r)
		})
		late := make(chan error, 1)
		go func() { late <- b.send(t.Context()) }()
		synctest.Wait()
		b.set(breaks)
		b.sendTimes(t, finn.FailureThreshold)
		time.Sleep(11 * time.Second) // fake clock
		b.set(works)
		b.sendTimes(t, 1)
		b.wantState(t, finn.Closed)
		b.set(breaks)
		b.sendTimes(t, finn.FailureThreshold-1)
		close(release) // Fails as the fifth in a row, but belongs to the time before.
		wantError(t, <-late, finn.ErrUpstream, "INTERNAL_ERROR")
		b.wantState(t, finn.Closed)
		b.sendTimes(t, 1)
		b.wantState(t, finn.Open)
	})
}

func TestLookUpsAndHealthPassAnOpenCircuit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wallet := "0x" + strings.Repeat("a", 40)
		b := newBackend(t, breaks)
		for range 3 * finn.FailureThreshold {
			if _, err := b.client.Staked(t.Context(), wallet); !errors.Is(err, finn.ErrUpstream) {
				t.Fatalf("Staked: %v", err)
			}
			_ = b.client.Health(t.Context())
		}
		b.wantState(t, finn.Closed)
		b.sendTimes(t, finn.FailureThreshold)
		b.wantState(t, finn.Open)
		b.set(status(http.StatusOK, `{"wallet":"`+wallet+`","bgtStaked":12.5}`))
		if staked, err := b.client.Staked(t.Context(), wallet); err != nil || staked != 12.5 {
			t.Errorf("Staked = %v, %v", staked, err)
		}
		time.Sleep(9 * time.Second) // fake clock
		b.wantState(t, finn.Open)
		if err := b.send(t.Context()); !errors.Is(err, finn.ErrCircuitOpen) {
			t.Errorf("Send: %v", err)
		}
	})
}

func TestBreakerUnderConcurrency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, breaks)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				for range 20 {
					_ = b.send(t.Context())
					time.Sleep(time.Second) // fake clock
				}
			})
		}
		wg.Wait()
		for i, change := range b.seen {
			if i > 0 && change.From != b.seen[i-1].To {
				t.Fatalf("transition %d goes from %v after one to %v", i, change.From, b.seen[i-1].To)
			}
		}
		if len(b.seen) == 0 {
			t.Error("no transition")
		}
	})
}
