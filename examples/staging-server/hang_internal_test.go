package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dixie"
	"dixie/internal/pgtest"
	"dixie/telemetry"
)

// TestHangingDatabase holds PostgreSQL still for twenty seconds while forty requests want it: each is told 503
// by its deadline, and afterwards there are as many goroutines and connections as before. It runs alone,
// since it counts the goroutines of the process.
func TestHangingDatabase(t *testing.T) { //nolint:paralleltest // See above.
	database := pgtest.Start(t)
	variables := map[string]string{"DATABASE_URL": database.URL(), "DIXIE_RATE_LIMIT_RPM": "0"}
	c, err := readConfig(func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	b, err := connect(t.Context(), c, logger)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close(logger)
	opts, err := options(c, b, new(telemetry.Telemetry), logger)
	if err != nil {
		t.Fatal(err)
	}
	h, err := dixie.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Shutdown(context.WithoutCancel(t.Context())) }()
	server := httptest.NewServer(h)
	defer server.Close()
	record := func() int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/reputation/agent/events",
			strings.NewReader(`{"type":"quality_signal","score":0.5}`))
		if err != nil {
			t.Error(err)
			return 0
		}
		request.Header.Set("Authorization", "Bearer "+c.adminKey)
		response, err := server.Client().Do(request)
		if err != nil {
			t.Error(err)
			return 0
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response.StatusCode
	}
	forty := func(want int) {
		t.Helper()
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				began := time.Now()
				if got := record(); got != want {
					t.Errorf("%d, want %d", got, want)
				}
				if took := time.Since(began); took > 19*time.Second {
					t.Errorf("the answer took %s", took)
				}
			})
		}
		wg.Wait()
		server.Client().CloseIdleConnections()
	}
	forty(http.StatusCreated)
	// River has its own goroutines for whoever leads, which is decided after the start.
	watch, err := pgx.Connect(t.Context(), database.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Close(context.WithoutCancel(t.Context())) }()
	count := func(query string) (n int) {
		if err := watch.QueryRow(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	lead := func() int {
		for count(`SELECT count(*) FROM river_leader WHERE expires_at > now()`) == 0 {
			<-time.After(100 * time.Millisecond)
		}
		return settled(t)
	}
	before := lead()

	resume, err := database.Pause()
	if err != nil {
		t.Fatal(err)
	}
	// The server lets go by itself, whatever becomes of this test.
	timer := time.AfterFunc(20*time.Second, resume)
	defer timer.Stop()
	forty(http.StatusServiceUnavailable)
	resume()

	deadline := time.Now().Add(30 * time.Second)
	for record() != http.StatusCreated && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	forty(http.StatusCreated)
	lead()
	for deadline = time.Now().Add(30 * time.Second); ; {
		<-time.After(200 * time.Millisecond)
		now, open := runtime.NumGoroutine(), count(`SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dixie-bff'`)
		// One more connection than the pool has listens.
		if now <= before && open <= c.poolSize+1 {
			return
		}
		if time.Now().After(deadline) {
			var stacks strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
			t.Fatalf("%d goroutines, %d before, and %d connections\n%s", now, before, open, &stacks)
		}
	}
}

// settled is the most goroutines there were until the number had not grown for three seconds: River starts each service
// of its leader up to a second late.
func settled(t *testing.T) (most int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for grew := time.Now(); time.Since(grew) < 3*time.Second; <-time.After(100 * time.Millisecond) {
		if now := runtime.NumGoroutine(); now > most {
			most, grew = now, time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatalf("the number of goroutines grows for a minute: %d", most)
		}
	}
	return most
}
