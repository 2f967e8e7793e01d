package migrate_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"dixie/migrate"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func newMigrator(t *testing.T, url string, cfg migrate.Config) *migrate.Migrator {
	t.Helper()
	m, err := migrate.New(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func up(t *testing.T, m *migrate.Migrator) migrate.Result {
	t.Helper()
	result, err := m.Up(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// names lists the tables and functions that a run has left.
func names(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
		UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'e' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestUpDownToZeroAndUp(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	m, conn := newMigrator(t, url, migrate.Config{}), connect(t, url)
	if pending, err := m.Pending(t.Context()); err != nil || !pending {
		t.Errorf("an empty database: pending %v, %v", pending, err)
	}
	first := up(t, m)
	if len(first.Steps) == 0 || first.Steps[0].Source != migrate.Dixie || first.Steps[len(first.Steps)-1].Source != migrate.River {
		t.Errorf("steps %+v", first.Steps)
	}
	after := names(t, conn)
	if again := up(t, m); len(again.Steps) != 0 {
		t.Errorf("a second run did %+v", again.Steps)
	}
	if pending, err := m.Pending(t.Context()); err != nil || pending {
		t.Errorf("after a run: pending %v, %v", pending, err)
	}
	down, err := m.Down(t.Context(), 1_000)
	if err != nil || len(down.Steps) != len(first.Steps) {
		t.Errorf("down: %+v, %v; want %d steps", down.Steps, err, len(first.Steps))
	}
	// Only the memory of what was applied stays.
	if diff := cmp.Diff([]string{"dixie_migrations"}, names(t, conn)); diff != "" {
		t.Errorf("left behind: %s", diff)
	}
	if again := up(t, m); len(again.Steps) != len(first.Steps) {
		t.Errorf("up again: %+v", again.Steps)
	}
	if diff := cmp.Diff(after, names(t, conn)); diff != "" {
		t.Errorf("up again made something else: %s", diff)
	}
}

func TestDownTakesTheNewestBack(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	m := newMigrator(t, url, migrate.Config{})
	up(t, m)
	if none, err := m.Down(t.Context(), 0); err != nil || len(none.Steps) != 0 {
		t.Errorf("down by none: %+v, %v", none.Steps, err)
	}
	before, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one, err := m.Down(t.Context(), 1)
	if err != nil || len(one.Steps) == 0 {
		t.Fatalf("down by one: %+v, %v", one.Steps, err)
	}
	newest := int64(0)
	for _, s := range before {
		if !s.Applied {
			t.Errorf("after a run, %+v is not applied", s)
		}
		if s.Source == migrate.Dixie {
			if s.AppliedAt.IsZero() {
				t.Errorf("%+v has no time", s)
			}
			newest = max(newest, s.Version)
		}
	}
	if one.Steps[0].Source != migrate.Dixie || one.Steps[0].Version != newest {
		t.Errorf("down by one took %+v back, want version %d", one.Steps[0], newest)
	}
}

// TestTraceStateColumn: 7 keeps the tasks of 6, which have no state, and its way back drops that column alone.
func TestTraceStateColumn(t *testing.T) {
	t.Parallel()
	const before = 6
	url := postgres.Database(t)
	m, conn := newMigrator(t, url, migrate.Config{}), connect(t, url)
	up(t, m)
	down := func() {
		t.Helper()
		status, err := m.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		newer := 0
		for _, s := range status {
			if s.Source == migrate.Dixie && s.Version > before {
				newer++
			}
		}
		if _, err := m.Down(t.Context(), newer); err != nil || newer == 0 {
			t.Fatalf("down by %d: %v", newer, err)
		}
	}
	traces := func() (columns []string) {
		t.Helper()
		rows, err := conn.Query(t.Context(), `SELECT column_name || ' ' || data_type || ' ' || is_nullable FROM information_schema.columns
			WHERE table_name = 'fleet_tasks' AND column_name LIKE 'trace%' ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		columns, err = pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return columns
	}
	down()
	if diff := cmp.Diff([]string{"traceparent text YES"}, traces()); diff != "" {
		t.Errorf("taken back (-want +got):\n%s", diff)
	}
	_, err := conn.Exec(t.Context(), `INSERT INTO fleet_tasks (id, operator_id, tier, task_type, description, repository, base_branch,
			agent_type, model, branch, context_hash, status, version, attempt, retry_count, max_retries, timeout, prompt_tokens,
			reference, pr_number, admission_limit, cost_micro_usd, cost, created_at, updated_at, history, traceparent)
		VALUES (gen_random_uuid(), 'o', 't', 't', 'd', 'r', 'b', 'a', 'm', 'b', 'h', 'completed', 1, 1, 0, 3, '1 hour', 1,
			'', 0, 1, 1, '{}', now(), 'now', '[]', 'kept')`)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // The way there, back, and there again.
		up(t, m)
		if diff := cmp.Diff([]string{"traceparent text YES", "tracestate text YES"}, traces()); diff != "" {
			t.Errorf("applied (-want +got):\n%s", diff)
		}
		var parent string
		var state *string
		err := conn.QueryRow(t.Context(), "SELECT traceparent, tracestate FROM fleet_tasks").Scan(&parent, &state)
		if err != nil || parent != "kept" || state != nil {
			t.Errorf("a task of before: traceparent %q, tracestate %v, %v", parent, state, err)
		}
		if _, err := conn.Exec(t.Context(), "UPDATE fleet_tasks SET tracestate = 'a=1'"); err != nil {
			t.Fatal(err)
		}
		down()
	}
}

// setting reads lock_timeout and the pid of the session.
func setting(t *testing.T, conn *pgx.Conn) (timeout string, pid uint32) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SHOW lock_timeout").Scan(&timeout); err != nil {
		t.Fatal(err)
	}
	return timeout, conn.PgConn().PID()
}

// TestLockTimeoutIsReset is T1.3: whichever way the wait for the lock ends, the very session that waited
// has the default lock_timeout afterwards.
func TestLockTimeoutIsReset(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	holder, waiter := connect(t, url), connect(t, url)
	standard, pid := setting(t, waiter)

	unlock, err := migrate.Lock(t.Context(), holder, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if timeout, _ := setting(t, holder); timeout != standard {
		t.Errorf("while the lock is held, lock_timeout is %s, want %s", timeout, standard)
	}
	_, err = migrate.Lock(t.Context(), waiter, 50*time.Millisecond)
	if !errors.Is(err, migrate.ErrLocked) {
		t.Fatalf("waiting too long: %v", err)
	}
	if timeout, now := setting(t, waiter); timeout != standard || now != pid {
		t.Errorf("after waiting too long, lock_timeout is %s in backend %d, want %s in %d", timeout, now, standard, pid)
	}
	if err := unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	unlock, err = migrate.Lock(t.Context(), waiter, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if timeout, now := setting(t, waiter); timeout != standard || now != pid {
		t.Errorf("after getting the lock, lock_timeout is %s in backend %d, want %s in %d", timeout, now, standard, pid)
	}
	if err := unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := unlock(t.Context()); !errors.Is(err, migrate.ErrUnavailable) {
		t.Errorf("letting go of a lock that was lost: %v", err)
	}
}

// TestHolderThatNeverLetsGo: the error says who holds the lock and what to do, and the query it names works.
func TestHolderThatNeverLetsGo(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	holder := connect(t, url+"&application_name=stuck")
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock($1)", int64(migrate.LockKey)); err != nil {
		t.Fatal(err)
	}
	_, err := newMigrator(t, url, migrate.Config{LockTimeout: 100 * time.Millisecond}).Up(t.Context())
	if !errors.Is(err, migrate.ErrLocked) {
		t.Fatalf("Up: %v", err)
	}
	for _, part := range []string{"2084904821", "of stuck", migrate.HolderQuery, "pg_terminate_backend"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
	var pid uint32
	var ignored any
	row := connect(t, url).QueryRow(t.Context(), migrate.HolderQuery)
	if err := row.Scan(&pid, &ignored, &ignored, &ignored, &ignored); err != nil || pid != holder.PgConn().PID() {
		t.Errorf("the query shows backend %d, %v; want %d", pid, err, holder.PgConn().PID())
	}
	if tables := names(t, connect(t, url)); len(tables) != 0 {
		t.Errorf("without the lock something was made: %v", tables)
	}
}

func TestManyMigratorsAtOnce(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	steps := map[int]int{}
	for range 5 {
		m := newMigrator(t, url, migrate.Config{})
		wg.Go(func() {
			result, err := m.Up(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			steps[len(result.Steps)]++
		})
	}
	wg.Wait()
	if len(steps) != 2 || steps[0] != 4 {
		t.Errorf("runs by their number of steps: %v; want one that did all and four that did nothing", steps)
	}
}

func TestGivingUpLeavesNoLock(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	holder := connect(t, url)
	unlock, err := migrate.Lock(t.Context(), holder, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := newMigrator(t, url, migrate.Config{}).Up(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller that gives up: %v", err)
	}
	if err := unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	up(t, newMigrator(t, url, migrate.Config{LockTimeout: 5 * time.Second}))
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	if _, err := migrate.New("postgres://u:secret@%zz/", migrate.Config{}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a URL that is none: %v", err)
	}
	if _, err := migrate.New("", migrate.Config{}); err == nil || !strings.Contains(err.Error(), "the URL is empty") {
		t.Errorf("no URL: %v", err)
	}
	if _, err := migrate.New("postgres://h/", migrate.Config{LockTimeout: -1}); err == nil {
		t.Error("a negative time-out was accepted")
	}
	m := newMigrator(t, "postgres://u@127.0.0.1:1/x?connect_timeout=1", migrate.Config{})
	if _, err := m.Up(t.Context()); !errors.Is(err, migrate.ErrUnavailable) {
		t.Errorf("no database: %v", err)
	}
	if _, err := m.Status(t.Context()); !errors.Is(err, migrate.ErrUnavailable) {
		t.Errorf("status without a database: %v", err)
	}
}
