package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"dixie/fleet"
	"dixie/fleet/postgres"
)

func proposal(operator string) fleet.NewTask {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return fleet.NewTask{Task: fleet.Task{
		ID: uuid.Must(uuid.NewV7()).String(), Operator: operator, Tier: "architect", TaskType: "bug_fix",
		Description: "Fix the door", Repository: "acme/house", BaseBranch: "main",
		AgentType: fleet.ClaudeCode, Model: "claude-opus-4-6", Branch: "fleet/0123456789ab-01234567", ContextHash: "c0ffee",
		Status: fleet.Proposed, Attempt: 1, MaxRetries: 3, Timeout: time.Hour, PromptTokens: 8000,
		CreatedAt: now, UpdatedAt: now, History: []fleet.Passage{{Status: fleet.Proposed, At: now}},
	}}
}

// limited admits while there are fewer active tasks than three.
func limited(counted fleet.Snapshot) fleet.Decision {
	const limit = 3
	return fleet.Decision{Admit: counted.Active < limit, Limit: limit, CostMicroUSD: taskCost}
}

// TestAdmitInTwoProcesses has sixty callers of one operator at two stores.
func TestAdmitInTwoProcesses(t *testing.T) {
	t.Parallel()
	const tries, places = 60, 3
	url := server.Migrated(t)
	stores := []*postgres.Store{open(t, url, postgres.Config{}), open(t, url, postgres.Config{})}
	var admitted atomic.Int32
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() {
			a, err := stores[i%len(stores)].Admit(t.Context(), proposal(alice), limited)
			if err != nil {
				t.Errorf("Admit: %v", err)
			}
			if a.Decision.Admit {
				admitted.Add(1)
			}
		})
	}
	wg.Wait()
	pool := connect(t, url)
	entries, sum := spent(t, pool)
	tasks := count(t, pool, `SELECT count(*) FROM fleet_tasks`)
	jobs := count(t, pool, `SELECT count(*) FROM river_job WHERE kind = 'dixie_fleet_attempt'`)
	t.Logf("%d of %d admitted; %d tasks, %d jobs, %d entries of %d micro-USD", admitted.Load(), tries, tasks, jobs, entries, sum)
	if admitted.Load() != places || tasks != places || jobs != places || entries != places || sum != places*taskCost {
		t.Errorf("want %d of each, and %d micro-USD", places, places*taskCost)
	}
}

// TestOneOperatorDoesNotTakeThePool has an operator whose admissions are stuck behind another process's.
func TestOneOperatorDoesNotTakeThePool(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	store, other := open(t, url, postgres.Config{}), connect(t, url)
	tx, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(hashtextextended('fleet:' || $1, 0))`, alice); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 30 {
		wg.Go(func() {
			if _, err := store.Admit(ctx, proposal(alice), limited); !errors.Is(err, context.Canceled) {
				t.Errorf("Admit that was given up: %v, want the context's error", err)
			}
		})
	}
	if _, err := store.Admit(t.Context(), proposal("another"), limited); err != nil {
		t.Errorf("Admit of another operator: %v", err)
	}
	cancel()
	wg.Wait()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, err := store.Admit(t.Context(), proposal(alice), limited); err != nil || a.Snapshot.Active != 0 {
		t.Errorf("Admit after those that were given up: %+v, %v; want the first task", a.Snapshot, err)
	}
}

// TestRestart opens a second store on what a first one has left.
func TestRestart(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	first, err := postgres.New(postgres.Config{Pool: connect(t, url)})
	if err != nil {
		t.Fatal(err)
	}
	in := proposal(alice)
	in.IdempotencyKey = "k"
	a, err := first.Admit(t.Context(), in, limited)
	if err != nil {
		t.Fatal(err)
	}
	target := fleet.Target{Scope: everyone(), ID: in.Task.ID, Attempt: 1}
	if err := first.AppendLog(t.Context(), target, []string{"one", "two"}); err != nil {
		t.Fatal(err)
	}
	handed := make(chan fleet.Attempt, 1)
	if err := first.Start(t.Context(), 1, func(ctx context.Context, a fleet.Attempt) error {
		handed <- a
		<-ctx.Done()
		return errors.New("another time")
	}); err != nil {
		t.Fatal(err)
	}
	receive(t, handed)
	stop(t, first)

	second := open(t, url, postgres.Config{})
	task, err := second.Get(t.Context(), fleet.Scope{Operator: alice}, in.Task.ID)
	lines, logErr := second.Log(t.Context(), fleet.Scope{Operator: alice}, in.Task.ID, 10)
	if err != nil || logErr != nil || task.Version != a.Task.Version || fmt.Sprint(lines) != "[one two]" {
		t.Errorf("task %+v, %v; log %q, %v", task, err, lines, logErr)
	}
	again := proposal(alice)
	again.IdempotencyKey = "k"
	if b, err := second.Admit(t.Context(), again, limited); err != nil || !b.Replayed || b.Task.ID != in.Task.ID {
		t.Errorf("Admit with the same key: %+v, %v; want a replay", b, err)
	}
	again.Task.ContextHash = "other"
	if _, err := second.Admit(t.Context(), again, limited); !errors.Is(err, fleet.ErrIdempotencyConflict) {
		t.Errorf("Admit with the same key and other content: %v", err)
	}
	if err := second.Start(t.Context(), 1, func(_ context.Context, a fleet.Attempt) error {
		handed <- a
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, handed); got.TaskID != in.Task.ID || got.Number != 1 || !got.RunAt.Equal(in.Task.CreatedAt) {
		t.Errorf("handed out %+v, want the attempt that the first store had put off", got)
	}
}

func TestNewReportsAllProblems(t *testing.T) {
	t.Parallel()
	_, err := postgres.New(postgres.Config{Lease: -1, RenewInterval: -1, SweepInterval: -1, Retention: -1})
	want := "fleet/postgres: Pool is missing\nfleet/postgres: Lease is negative\n" +
		"fleet/postgres: RenewInterval is negative\nfleet/postgres: SweepInterval is negative\nfleet/postgres: Retention is negative"
	if err == nil || err.Error() != want {
		t.Errorf("New: %v\nwant %s", err, want)
	}
}

// TestRetention keeps what has not ended, and the ledger.
func TestRetention(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	cfg := quick()
	cfg.Retention = time.Hour
	store := open(t, url, cfg)
	alive, recent, old := proposal(alice), proposal(alice), proposal(alice)
	for _, in := range []*fleet.NewTask{&alive, &recent, &old} {
		in.IdempotencyKey = in.Task.ID
		if _, err := store.Admit(t.Context(), *in, limited); err != nil {
			t.Fatal(err)
		}
	}
	for id, at := range map[string]time.Time{recent.Task.ID: time.Now(), old.Task.ID: time.Now().Add(-2 * time.Hour)} {
		_, err := store.Update(t.Context(), fleet.Target{Scope: everyone(), ID: id}, func(task fleet.Task) (fleet.Change, error) {
			moved, err := task.Move(at, fleet.Cancelled)
			return fleet.Change{Task: moved}, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Start(t.Context(), 1, func(context.Context, fleet.Attempt) error { return nil }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old task is dropped", func() bool {
		_, err := store.Get(t.Context(), everyone(), old.Task.ID)
		return errors.Is(err, fleet.ErrNotFound)
	})
	pool := connect(t, url)
	entries, _ := spent(t, pool)
	keys := count(t, pool, `SELECT count(*) FROM fleet_idempotency`)
	if tasks := count(t, pool, `SELECT count(*) FROM fleet_tasks`); tasks != 2 || keys != 2 || entries != 3 {
		t.Errorf("%d tasks, %d keys, %d ledger entries; want 2, 2 and 3", tasks, keys, entries)
	}
}

// TestBadData wants an error that does not ask to try again.
func TestBadData(t *testing.T) {
	t.Parallel()
	store := open(t, server.Migrated(t), postgres.Config{})
	in := proposal(alice)
	in.Task.Description = "no database takes \x00"
	if _, err := store.Admit(t.Context(), in, limited); err == nil || errors.Is(err, fleet.ErrStoreUnavailable) {
		t.Errorf("Admit: %v, want an error that is final", err)
	}
	if _, err := store.Get(t.Context(), everyone(), "not an id"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
}
