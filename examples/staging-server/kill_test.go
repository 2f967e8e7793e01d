package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

//nolint:gochecknoglobals // How often TestKilledServers kills; .ci/run asks for more than a quick run.
var kills = flag.Int("kills", 3, "how often TestKilledServers kills the server with SIGKILL")

// acknowledged is what a server has said yes to.
type acknowledged struct {
	mu     sync.Mutex
	events map[string]bool
	tasks  map[string]string // The token of its wallet, by task id.
}

// TestKilledServers kills the real server with SIGKILL again and again while clients record events and spawn
// tasks. Whatever it acknowledged is there afterwards, exactly once, and no limit was passed.
func TestKilledServers(t *testing.T) {
	t.Parallel()
	database := postgres.Database(t)
	binary, siwe := build(t, "dixie/examples/staging-server"), build(t, "dixie/examples/siwe-login")
	env := []string{
		"DATABASE_URL=" + database, "DIXIE_JWT_PRIVATE_KEY=" + strings.Repeat("k", 32), "DIXIE_RATE_LIMIT_RPM=0",
		"DIXIE_AUTONOMOUS_BUDGET=100000000",
	}
	known := &acknowledged{events: map[string]bool{}, tasks: map[string]string{}}
	server := serve(t, binary, env...)
	tokens := make([]string, 3)
	for i := range tokens {
		tokens[i] = login(t, siwe, server.url)
	}
	watched := watchLimit(t, database, 3)
	for range *kills {
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for _, token := range tokens {
			clients.Go(func() { known.recordUntil(ctx, server.url, token) })
			clients.Go(func() { known.spawnUntil(ctx, server.url, token) })
		}
		select {
		case <-time.After(100*time.Millisecond + rand.N(900*time.Millisecond)):
		case err := <-server.exited:
			t.Fatalf("the server ended by itself: %v\n%s", err, server.stderr)
		}
		if err := server.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-server.exited; err == nil {
			t.Error("the server ended by itself")
		}
		cancel()
		clients.Wait()
		server = serve(t, binary, env...)
	}
	for id, token := range known.tasks {
		awaitTerminal(t, server.url, token, id)
	}
	watched()
	server.stop(t)
	if out, err := command(t, binary, database, "reputation", "verify"); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
	known.check(t, database)
	t.Logf("%d kills; %d events and %d tasks were acknowledged", *kills, len(known.events), len(known.tasks))
}

// post sends a request to a server that may die at any moment.
func post(ctx context.Context, url, token, key, body string) (int, map[string]any) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, nil
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(response.Body); err != nil {
		return 0, nil
	}
	var fields map[string]any
	_ = json.Unmarshal(raw.Bytes(), &fields)
	return response.StatusCode, fields
}

func (k *acknowledged) recordUntil(ctx context.Context, url, token string) {
	for ctx.Err() == nil {
		id := uuid.NewString()
		body := fmt.Sprintf(`{"type":"quality_signal","score":%v,"event_id":%q}`, rand.Float64(), id)
		status, _ := post(ctx, fmt.Sprintf("%s/api/reputation/agent-%d/events", url, rand.IntN(4)), token, "", body)
		if status == http.StatusCreated {
			k.mu.Lock()
			k.events[id] = true
			k.mu.Unlock()
		}
	}
}

func (k *acknowledged) spawnUntil(ctx context.Context, url, token string) {
	for ctx.Err() == nil {
		body := `{"description":"say [[words 5]]","taskType":"docs","repository":"acme/app"}`
		status, fields := post(ctx, url+"/api/fleet/spawn", token, uuid.NewString(), body)
		if id, ok := fields["taskId"].(string); ok && status == http.StatusCreated {
			k.mu.Lock()
			k.tasks[id] = token
			k.mu.Unlock()
		}
	}
}

// awaitTerminal waits for a task to end: a lease, a sweep and an attempt, with room to spare.
func awaitTerminal(t *testing.T, url, token, id string) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(90 * time.Second)
	for {
		status, task := request(t, http.MethodGet, url+"/api/fleet/tasks/"+id, token, "")
		if status != http.StatusOK {
			t.Errorf("the acknowledged task %s: %d %v", id, status, task)
			return
		}
		if task["status"] == "completed" || task["status"] == "abandoned" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("the task %s is still %v", id, task["status"])
			return
		}
	}
}

// watchLimit counts, again and again and each time in one snapshot, how many tasks of a wallet are active,
// until the returned function is called.
func watchLimit(t *testing.T, database string, limit int) (stop func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for ctx.Err() == nil {
			var most int
			err := conn.QueryRow(ctx, `SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM fleet_tasks
				WHERE status NOT IN ('completed', 'merged', 'failed', 'rejected', 'abandoned', 'cancelled') GROUP BY operator_id) AS active`).Scan(&most)
			if err == nil && most > limit {
				t.Errorf("a wallet has %d active tasks", most)
				return
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// check asks the database.
func (k *acknowledged) check(t *testing.T, database string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	count := func(query string, args ...any) (n int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	events := make([]string, 0, len(k.events))
	for id := range k.events {
		events = append(events, id)
	}
	if n := count(`SELECT count(*) FROM reputation_events WHERE event_id = ANY ($1::uuid[])`, events); n != len(events) {
		t.Errorf("%d of %d acknowledged events are there", n, len(events))
	}
	tasks := make([]string, 0, len(k.tasks))
	for id := range k.tasks {
		tasks = append(tasks, id)
	}
	got := map[string]int{
		"acknowledged tasks": count(`SELECT count(*) FROM fleet_tasks WHERE id = ANY ($1::uuid[])`, tasks),
		"charges of them":    count(`SELECT count(*) FROM budget_ledger WHERE kind = 'charge' AND task_id = ANY ($1::uuid[])`, tasks),
		"tasks not charged": count(`SELECT count(*) FROM fleet_tasks t WHERE NOT EXISTS
			(SELECT FROM budget_ledger l WHERE l.task_id = t.id AND l.kind = 'charge')`),
		"charges of no task":      count(`SELECT count(*) FROM budget_ledger l WHERE NOT EXISTS (SELECT FROM fleet_tasks t WHERE t.id = l.task_id)`),
		"running without a lease": count(`SELECT count(*) FROM fleet_tasks WHERE status IN ('spawning', 'running')`),
	}
	want := map[string]int{
		"acknowledged tasks": len(tasks), "charges of them": len(tasks), "tasks not charged": 0, "charges of no task": 0,
		"running without a lease": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
