package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"dixie/fleet"
	"dixie/fleet/postgres"
)

// generous admits everything, for a cost.
type generous struct{}

const taskCost = 7000

func (generous) Decide(asked fleet.Request, counted fleet.Snapshot) fleet.Decision {
	return fleet.Decision{Admit: true, Tier: asked.Tier, Active: counted.Active, Limit: 1000, CostMicroUSD: taskCost}
}

const alice = "0xA11CE00000000000000000000000000000000001"

// serve makes a service on a store of its own, which ends with the test. It is not started.
func serve(t *testing.T, url string, cfg postgres.Config, runner fleet.RunnerFunc) (*fleet.Service, *postgres.Store) {
	t.Helper()
	store := open(t, url, cfg)
	service, err := fleet.New(fleet.Config{
		Store: store, Runner: runner, Policy: generous{}, RetryDelay: func(int) time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	return service, store
}

func start(t *testing.T, service *fleet.Service) {
	t.Helper()
	if err := service.Start(t.Context()); err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := service.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func request() fleet.SpawnRequest {
	return fleet.SpawnRequest{
		Operator: alice, Tier: "architect", TaskType: "bug_fix", Description: "Fix the door", Repository: "acme/house",
	}
}

// admit spawns a task and returns its id.
func admit(t *testing.T, service *fleet.Service) string {
	t.Helper()
	return admitIn(t.Context(), t, service)
}

// spawner is a span of another process, in whose trace vendors have something to say.
func spawner(t *testing.T) trace.SpanContext {
	t.Helper()
	state, err := trace.ParseTraceState(spawnerState)
	if err != nil {
		t.Fatal(err)
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4, 5, 6}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
	})
}

const spawnerState = "a=1,b@c=2"

// admitIn is admit with a context of the spawn's own.
func admitIn(ctx context.Context, t *testing.T, service *fleet.Service) string {
	t.Helper()
	spawned, err := service.Spawn(ctx, request())
	if err != nil {
		t.Fatalf("Spawn: %v", err)
	}
	return spawned.Task.ID
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("waited in vain")
		var none T
		return none
	}
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// await waits until a task is in a state.
func await(t *testing.T, store *postgres.Store, id string, want fleet.Status) fleet.Task {
	t.Helper()
	var task fleet.Task
	eventually(t, "task is "+string(want), func() bool {
		var err error
		task, err = store.Get(t.Context(), everyone(), id)
		return err == nil && task.Status == want
	})
	return task
}

// A worker that acts leaves beats in the database, with the time of its only clock.

func prepareBeats(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	mustExec(t, pool, `CREATE TABLE beats (task_id text, attempt int, worker text, at timestamptz DEFAULT clock_timestamp())`)
}

func mustExec(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func count(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) int {
	t.Helper()
	var n int
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// beatUntil acts until it is told to end.
func beatUntil(ctx context.Context, pool *pgxpool.Pool, task fleet.Task, worker string, end <-chan struct{}) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
			_, err := pool.Exec(ctx, `INSERT INTO beats (task_id, attempt, worker) VALUES ($1, $2, $3)`, task.ID, task.Attempt, worker)
			if err != nil {
				return
			}
		}
	}
}

// beating is a runner that acts for a moment.
func beating(pool *pgxpool.Pool, worker string) fleet.RunnerFunc {
	return func(ctx context.Context, job fleet.Job, report fleet.Report) error {
		report.Started(worker)
		moment, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		beatUntil(ctx, pool, job.Task, worker, moment.Done())
		report.Log("done by " + worker)
		return ctx.Err()
	}
}

func awaitBeat(t *testing.T, pool *pgxpool.Pool, id string) {
	t.Helper()
	eventually(t, "the worker acts", func() bool { return count(t, pool, `SELECT count(*) FROM beats WHERE task_id = $1`, id) > 0 })
}

// wantTurns wants that so many attempts acted, one after the other.
func wantTurns(t *testing.T, pool *pgxpool.Pool, id string, attempts int) {
	t.Helper()
	if n := count(t, pool, `SELECT count(DISTINCT attempt) FROM beats WHERE task_id = $1`, id); n != attempts {
		t.Errorf("%d attempts acted, want %d", n, attempts)
	}
	overlaps := count(t, pool, `SELECT count(*) FROM beats a JOIN beats b USING (task_id)
		WHERE a.task_id = $1 AND a.attempt < b.attempt AND a.at >= b.at`, id)
	if overlaps > 0 {
		t.Errorf("%d times an earlier attempt acted after a later one had begun", overlaps)
	}
	var gap time.Duration
	err := pool.QueryRow(t.Context(), `SELECT (SELECT min(at) FROM beats WHERE task_id = $1 AND attempt = 2) -
		(SELECT max(at) FROM beats WHERE task_id = $1 AND attempt = 1)`, id).Scan(&gap)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("between the last act of attempt 1 and the first of attempt 2: %v", gap.Round(time.Millisecond))
}

// spent is what the ledger has for alice.
func spent(t *testing.T, pool *pgxpool.Pool) (entries, sum int) {
	t.Helper()
	err := pool.QueryRow(t.Context(), `SELECT count(*), coalesce(sum(amount_micro_usd), 0)::bigint FROM budget_ledger
		WHERE operator_id = $1`, alice).Scan(&entries, &sum)
	if err != nil {
		t.Fatal(fmt.Errorf("ledger: %w", err))
	}
	return entries, sum
}
