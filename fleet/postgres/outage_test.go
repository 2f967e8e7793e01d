package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"dixie/fleet"
	"dixie/internal/pgtest"
	"dixie/migrate"
)

// TestDatabaseAway takes the database away for a moment while tasks are at work: before the end of one is
// written, and before others are handed out.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	const tasks, workers = 6, 3
	own := pgtest.Start(t)
	m, err := migrate.New(own.URL(), migrate.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg := quick()
	cfg.Lease = 10 * time.Second
	cfg.Logger = slog.New(slog.DiscardHandler)
	told := make(chan fleet.Event, 100)
	cfg.Publish = func(_ context.Context, e fleet.Event) error {
		told <- e
		return nil
	}
	begun, end := make(chan struct{}, 100), make(chan struct{}) // Attempts may be many.
	store := open(t, own.URL(), cfg)
	service, err := fleet.New(fleet.Config{Store: store, Workers: workers, Policy: generous{}, Runner: fleet.RunnerFunc(
		func(ctx context.Context, _ fleet.Job, report fleet.Report) error {
			report.Started("here")
			begun <- struct{}{}
			select {
			case <-end:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})})
	if err != nil {
		t.Fatal(err)
	}
	start(t, service)
	var ids []string
	for range tasks {
		ids = append(ids, admit(t, service))
	}
	for range workers {
		receive(t, begun)
	}

	own.Stop()
	away := time.Now()
	if _, err := service.Spawn(t.Context(), request()); !errors.Is(err, fleet.ErrStoreUnavailable) {
		t.Errorf("Spawn while the database is away: %v, want ErrStoreUnavailable", err)
	}
	close(end) // The outcomes of those at work are to be written now.
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	t.Logf("the database was away for %v", time.Since(away).Round(time.Millisecond))

	attempts := 0
	for _, id := range ids {
		attempts += await(t, store, id, fleet.Completed).Attempt
	}
	t.Logf("%d tasks completed in %d attempts, %v after the database went", tasks, attempts, time.Since(away).Round(time.Millisecond))
	if _, err := service.Spawn(t.Context(), request()); err != nil {
		t.Errorf("Spawn afterwards: %v", err)
	}
	if entries, sum := spent(t, connect(t, own.URL())); entries != tasks+1 || sum != (tasks+1)*taskCost {
		t.Errorf("%d entries of %d micro-USD, want %d of %d", entries, sum, tasks+1, (tasks+1)*taskCost)
	}
	completed := make(map[string]bool)
	for len(completed) < tasks {
		if e := receive(t, told); e.Type == fleet.AgentCompleted {
			completed[e.TaskID] = true
		}
	}
}
