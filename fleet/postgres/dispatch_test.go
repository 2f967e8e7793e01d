package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"dixie/fleet"
	"dixie/fleet/postgres"
)

// TestRunningSoon spawns a task with the standard intervals, with and without LISTEN.
func TestRunningSoon(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]postgres.Config{"listening": {}, "polling": {PollOnly: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const limit = 10 * time.Second
			service, store := serve(t, server.Migrated(t), cfg, func(ctx context.Context, _ fleet.Job, report fleet.Report) error {
				report.Started("here")
				<-ctx.Done()
				return ctx.Err()
			})
			start(t, service)
			task := await(t, store, admit(t, service), fleet.Running)
			took := task.SpawnedAt.Sub(task.CreatedAt)
			t.Logf("running %v after it was spawned", took.Round(time.Millisecond))
			if took > limit {
				t.Errorf("running after %v, want %v at most", took, limit)
			}
		})
	}
}

// TestOneJobForAnAttempt puts an attempt in the place of itself, at another time.
func TestOneJobForAnAttempt(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	pool, store := connect(t, url), open(t, url, postgres.Config{})
	in := proposal(alice)
	if _, err := store.Admit(t.Context(), in, limited); err != nil {
		t.Fatal(err)
	}
	target := fleet.Target{Scope: everyone(), ID: in.Task.ID, Attempt: 1}
	_, err := store.Update(t.Context(), target, func(task fleet.Task) (fleet.Change, error) {
		return fleet.Change{Task: task, RunAt: time.Now().Add(time.Hour)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	jobs := count(t, pool, `SELECT count(*) FROM river_job`)
	later := count(t, pool, `SELECT count(*) FROM river_job j JOIN fleet_tasks t ON t.job_id = j.id
		WHERE j.state = 'scheduled' AND j.scheduled_at = t.run_at AND j.scheduled_at > now()`)
	if jobs != 1 || later != 1 {
		t.Errorf("%d jobs, %d of them for later; want one", jobs, later)
	}
	_, err = store.Update(t.Context(), target, func(task fleet.Task) (fleet.Change, error) {
		moved, err := task.Move(time.Now(), fleet.Cancelled)
		return fleet.Change{Task: moved}, err
	})
	if jobs := count(t, pool, `SELECT count(*) FROM river_job`); err != nil || jobs != 0 {
		t.Errorf("%v; %d jobs of a task that has ended", err, jobs)
	}
}

func TestSchemaIsMissing(t *testing.T) {
	t.Parallel()
	service, _ := serve(t, server.Database(t), postgres.Config{}, nil)
	err := service.Start(t.Context())
	if !errors.Is(err, fleet.ErrStoreUnavailable) || !strings.Contains(err.Error(), "run Up of a migrate.Migrator") {
		t.Errorf("without a schema: %v", err)
	}
}
