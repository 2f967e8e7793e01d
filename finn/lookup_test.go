package finn_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dixie/finn"
)

func TestStakedAnswers(t *testing.T) {
	t.Parallel()
	wallet := "0x" + strings.Repeat("a", 40)
	for name, tc := range map[string]struct {
		status int
		body   string
		want   float64
		kind   error
	}{
		"number":         {200, `{"bgtStaked":100}`, 100, nil},
		"text":           {200, `{"bgtStaked":"0.5"}`, 0.5, nil},
		"zero":           {200, `{"bgtStaked":0}`, 0, nil},
		"not served":     {404, "404 Not Found", 0, finn.ErrNotAvailable},
		"negative":       {200, `{"bgtStaked":-1}`, 0, finn.ErrUpstream},
		"infinite":       {200, `{"bgtStaked":1e999}`, 0, finn.ErrUpstream},
		"NaN":            {200, `{"bgtStaked":"NaN"}`, 0, finn.ErrUpstream},
		"absent":         {200, `{}`, 0, finn.ErrUpstream},
		"another wallet": {200, `{"wallet":"0xbb","bgtStaked":5}`, 0, finn.ErrUpstream},
		"failure":        {500, ``, 0, finn.ErrUpstream},
		"credential":     {401, `{"code":"AUTH_INVALID"}`, 0, finn.ErrCredential},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			})
			got, err := client.Staked(t.Context(), wallet)
			if tc.kind != nil {
				for cause := range causes(err) {
					if cause == tc.kind { //nolint:errorlint // Looks at each node.
						return
					}
				}
				t.Fatalf("error = %v, want %v", err, tc.kind)
			}
			if err != nil || got != tc.want {
				t.Errorf("Staked = %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func TestHealthIsSharedAndCached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second) // fake clock
			return answer(r, http.StatusOK, "")
		}
		b := newBackend(t, slow)
		// The first to ask goes away; the others get the result all the same.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if h := b.client.Health(ctx); h.Healthy || h.Err != finn.CodeTimeout {
				t.Errorf("first: %+v", h)
			}
		})
		synctest.Wait()
		for range 20 {
			wg.Go(func() {
				if h := b.client.Health(t.Context()); !h.Healthy || h.Err != "" || h.Latency != time.Second {
					t.Errorf("Health = %+v", h)
				}
			})
		}
		wg.Wait()
		time.Sleep(9 * time.Second) // fake clock
		_ = b.client.Health(t.Context())
		if b.calls != 1 {
			t.Errorf("%d probes, want 1", b.calls)
		}
		time.Sleep(time.Second) // fake clock
		b.set(status(http.StatusServiceUnavailable, ""))
		if h := b.client.Health(t.Context()); h.Healthy || h.Err != "HTTP_503" {
			t.Errorf("Health = %+v", h)
		}
		if b.calls != 2 {
			t.Errorf("%d probes, want 2", b.calls)
		}
	})
}

func TestHealthOfAHangingFinn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, hang)
		if h := b.client.Health(t.Context()); h.Healthy || h.Err != finn.CodeTimeout || h.Latency != finn.DefaultControlTimeout {
			t.Errorf("Health = %+v", h)
		}
	})
}

func TestCloseEndsAProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, hang)
		start := time.Now()
		done := make(chan finn.Health, 1)
		go func() { done <- b.client.Health(t.Context()) }()
		synctest.Wait()
		_ = b.client.Close()
		if h := <-done; h.Healthy || time.Since(start) != 0 {
			t.Errorf("Health = %+v after %v", h, time.Since(start))
		}
	})
}
