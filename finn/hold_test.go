package finn_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dixie/finn"
)

// limited is a Finn that asks to wait.
func limited(retryAfter string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		response, err := answer(r, http.StatusTooManyRequests, `{"error":"Too Many Requests","code":"RATE_LIMITED"}`)
		if retryAfter != "" {
			response.Header.Set("Retry-After", retryAfter)
		}
		return response, err
	}
}

// countedCalls makes one call of every kind that is subject to a hold.
func (b *backend) countedCalls(t *testing.T) map[string]error {
	t.Helper()
	_, created := b.client.CreateSession(t.Context(), finn.SessionOptions{})
	_, state := b.client.Session(t.Context(), sessionID)
	_, streamed := b.client.Stream(t.Context(), sessionID, "hi", nil)
	return map[string]error{
		"CreateSession": created, "Session": state, "Send": b.send(t.Context()), "Stream": streamed,
	}
}

func wantHeld(t *testing.T, err error, left time.Duration) {
	t.Helper()
	wantError(t, err, finn.ErrRateLimited, finn.CodeRateLimitHold)
	var e *finn.Error
	if errors.As(err, &e) && e.RetryAfter != left {
		t.Errorf("RetryAfter = %v, want %v", e.RetryAfter, left)
	}
}

func TestRetryAfterHoldsCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, limited("20"))
		wantError(t, b.send(t.Context()), finn.ErrRateLimited, "RATE_LIMITED")
		for name, err := range b.countedCalls(t) {
			t.Log(name)
			wantHeld(t, err, 20*time.Second)
		}
		time.Sleep(5500 * time.Millisecond) // fake clock
		wantHeld(t, b.send(t.Context()), 15*time.Second)
		if b.calls != 1 {
			t.Errorf("%d calls got to Finn", b.calls-1)
		}

		// Others are not held.
		b.set(status(http.StatusOK, `{"bgtStaked":1}`))
		if _, err := b.client.Staked(t.Context(), "0x"+strings.Repeat("a", 40)); err != nil {
			t.Errorf("Staked: %v", err)
		}
		if h := b.client.Health(t.Context()); !h.Healthy {
			t.Errorf("Health: %+v", h)
		}
		wantHeld(t, b.send(t.Context()), 15*time.Second)

		time.Sleep(14499 * time.Millisecond) // fake clock
		wantHeld(t, b.send(t.Context()), time.Second)
		time.Sleep(time.Millisecond) // fake clock
		b.set(works)
		if err := b.send(t.Context()); err != nil {
			t.Errorf("after the wait: %v", err)
		}
		if len(b.seen) != 0 {
			t.Errorf("transitions %v", b.seen)
		}
	})
}

func TestHoldIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, limited("86400"))
		var e *finn.Error
		if err := b.send(t.Context()); !errors.As(err, &e) || e.RetryAfter != finn.MaxRetryAfter {
			t.Errorf("error %v", err)
		}
		wantHeld(t, b.send(t.Context()), finn.MaxHold)
		time.Sleep(finn.MaxHold) // fake clock
		wantError(t, b.send(t.Context()), finn.ErrRateLimited, "RATE_LIMITED")
		wantHeld(t, b.send(t.Context()), finn.MaxHold)
	})
}

func TestWhatHoldsCalls(t *testing.T) {
	t.Parallel()
	send := func(t *testing.T, b *backend) { t.Helper(); _ = b.send(t.Context()) }
	stream := func(t *testing.T, b *backend) { t.Helper(); _, _ = b.client.Stream(t.Context(), sessionID, "hi", nil) }
	staked := func(t *testing.T, b *backend) {
		t.Helper()
		_, _ = b.client.Staked(t.Context(), "0x"+strings.Repeat("a", 40))
	}
	health := func(t *testing.T, b *backend) { t.Helper(); _ = b.client.Health(t.Context()) }
	busy := func(r *http.Request) (*http.Response, error) {
		response, err := answer(r, http.StatusServiceUnavailable, "")
		response.Header.Set("Retry-After", "30")
		return response, err
	}
	for name, tc := range map[string]struct {
		do   func(*http.Request) (*http.Response, error)
		call func(*testing.T, *backend)
		held bool
	}{
		"a message":               {limited("30"), send, true},
		"a stream":                {limited("30"), stream, true},
		"the wait in the body":    {status(429, `{"error":"BUSY","retry_after_seconds":30}`), send, true},
		"no wait named":           {limited(""), send, false},
		"a wait that is no time":  {limited("soon"), send, false},
		"another status":          {busy, send, false},
		"a look-up":               {limited("30"), staked, false},
		"the health probe":        {limited("30"), health, false},
		"a limit without a wait":  {status(429, ""), stream, false},
		"a status of another ill": {status(500, `{"code":"RATE_LIMITED","retry_after_seconds":30}`), send, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBackend(t, tc.do)
				tc.call(t, b)
				b.set(works)
				err := b.send(t.Context())
				if tc.held {
					wantHeld(t, err, 30*time.Second)
				} else if err != nil {
					t.Errorf("held: %v", err)
				}
			})
		})
	}
}

// The longest wait counts, whichever answer comes last.
func TestHoldUnderConcurrency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const calls = 40
		waits := make(chan string)
		b := newBackend(t, func(r *http.Request) (*http.Response, error) { return limited(<-waits)(r) })
		answered := make(chan error, calls)
		for range calls {
			go func() { answered <- b.send(t.Context()) }()
		}
		synctest.Wait() // All have been let through.
		for _, wait := range []string{"2", "30", "10"} {
			waits <- wait
			wantError(t, <-answered, finn.ErrRateLimited, "RATE_LIMITED")
		}
		wantHeld(t, b.send(t.Context()), 30*time.Second)
		for range calls - 3 { // The rest at once.
			waits <- "10"
		}
		for range calls - 3 {
			wantError(t, <-answered, finn.ErrRateLimited, "RATE_LIMITED")
		}
		wantHeld(t, b.send(t.Context()), 30*time.Second)
	})
}

func TestHeldCallsTellTheBreakerNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := newBackend(t, func(r *http.Request) (*http.Response, error) {
			<-release
			return breaks(r)
		})
		// As many as open the circuit are under way when Finn asks to wait.
		failed := make(chan error, finn.FailureThreshold)
		for range finn.FailureThreshold {
			go func() { failed <- b.send(t.Context()) }()
		}
		synctest.Wait()
		b.set(limited("30"))
		wantError(t, b.send(t.Context()), finn.ErrRateLimited, "RATE_LIMITED")
		for i := range finn.FailureThreshold {
			for range finn.FailureThreshold { // Neither failures nor successes.
				wantHeld(t, b.send(t.Context()), 30*time.Second)
			}
			b.wantState(t, finn.Closed)
			release <- struct{}{}
			wantError(t, <-failed, finn.ErrUpstream, "INTERNAL_ERROR")
			if i == finn.FailureThreshold-1 {
				b.wantState(t, finn.Open)
			}
		}
	})
}
