package dixie_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dixie"
	"dixie/fleet"
	"dixie/fleet/memory"
	"dixie/internal/wallet"
)

// untilStopped is a runner whose tasks run until they are stopped.
func untilStopped() fleet.Runner {
	return fleet.RunnerFunc(func(ctx context.Context, _ fleet.Job, report fleet.Report) error {
		report.Started("reference")
		<-ctx.Done()
		return context.Cause(ctx)
	})
}

func spawnBody(description string) string {
	return fmt.Sprintf(`{"description":%q,"taskType":"bug_fix","repository":"acme/app"}`, description)
}

// awaitStatus polls a task until it is in a state, as a client would.
func (s *service) awaitStatus(token, id, status string) answer {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		got := s.do(http.MethodGet, "/api/fleet/tasks/"+id, token, "")
		if got.field("status") == status {
			return got
		}
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("not %s within 10 s: %s", status, got.body)
		}
	}
}

// TestTaskRunsAtFinn is T3.4: running within ten seconds, Finn's own words in the log, an end by itself.
func TestTaskRunsAtFinn(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	spawned := s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("say marmalade"))
	want(t, "spawn", spawned, http.StatusCreated, "")
	id, _ := spawned.field("taskId").(string)
	if spawned.field("agentType") != "claude_code" || spawned.field("costMicroUsd") != 5600.0 {
		t.Errorf("spawn: %s", spawned.body)
	}
	done := s.awaitStatus(token, id, "completed")
	var states []string
	history, _ := done.field("history").([]any)
	for _, h := range history {
		passage, _ := h.(map[string]any)
		states = append(states, fmt.Sprint(passage["status"]))
	}
	if got := strings.Join(states, " "); got != "proposed spawning running completed" {
		t.Errorf("history %s", got)
	}
	logs, _ := s.do(http.MethodGet, "/api/fleet/tasks/"+id+"/logs", token, "").field("logs").(string)
	if !strings.Contains(logs, "You said:") || !strings.Contains(logs, "marmalade") {
		t.Errorf("logs %q", logs)
	}
	status := s.do(http.MethodGet, "/api/fleet/status", token, "")
	if status.field("completedTasks") != 1.0 || status.field("activeTasks") != 0.0 {
		t.Errorf("status: %s", status.body)
	}

	stranger := s.token()
	for _, path := range []string{"", "/logs"} {
		want(t, "another's task"+path, s.do(http.MethodGet, "/api/fleet/tasks/"+id+path, stranger, ""), http.StatusNotFound, "not_found")
	}
	want(t, "stop another's", s.do(http.MethodPost, "/api/fleet/tasks/"+id+"/stop", stranger, ""), http.StatusNotFound, "not_found")
	want(t, "delete another's", s.do(http.MethodDelete, "/api/fleet/tasks/"+id, stranger, ""), http.StatusNotFound, "not_found")
	want(t, "as admin", s.do(http.MethodGet, "/api/fleet/tasks/"+id, stranger, "", "X-Admin-Key", adminKey), http.StatusOK, "")
	all := s.do(http.MethodGet, "/api/fleet/status?all=true", stranger, "", "X-Admin-Key", adminKey)
	if all.field("completedTasks") != 1.0 {
		t.Errorf("everybody's status: %s", all.body)
	}
	if mine := s.do(http.MethodGet, "/api/fleet/status?all=true", stranger, ""); mine.field("completedTasks") != 0.0 {
		t.Errorf("all without the admin key: %s", mine.body)
	}
	want(t, "stop what has ended", s.do(http.MethodPost, "/api/fleet/tasks/"+id+"/stop", token, ""), http.StatusConflict, "conflict")
	want(t, "delete", s.do(http.MethodDelete, "/api/fleet/tasks/"+id, token, ""), http.StatusOK, "")
	want(t, "gone", s.do(http.MethodGet, "/api/fleet/tasks/"+id, token, ""), http.StatusNotFound, "not_found")
	want(t, "no UUID", s.do(http.MethodGet, "/api/fleet/tasks/abc", token, ""), http.StatusNotFound, "not_found")
	want(t, "no identifier", s.do(http.MethodGet, "/api/fleet/tasks/a.b", token, ""), http.StatusBadRequest, "invalid_request")
}

// TestStoreInUse hands a Handler's store to a second one, which is refused and leaves the first at work.
func TestStoreInUse(t *testing.T) {
	t.Parallel()
	tasks := dixie.WithFleet(dixie.FleetConfig{Store: memory.New(memory.Config{})})
	s := start(t, nil, tasks)
	wantParts(t, refused(t, tasks), "started already", "make a new one")
	token := s.token()
	spawned := s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("say marmalade"))
	want(t, "spawn", spawned, http.StatusCreated, "")
	id, _ := spawned.field("taskId").(string)
	s.awaitStatus(token, id, "completed")
}

func TestParallelSpawnsKeepTheLimit(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithFleet(dixie.FleetConfig{Runner: untilStopped()}))
	token := s.token() // An architect, by the allowlist: three tasks.
	var admitted, denied atomic.Int32
	var ids sync.Map
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			got := s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody(fmt.Sprintf("task %d", i)))
			switch got.status {
			case http.StatusCreated:
				admitted.Add(1)
				ids.Store(got.field("taskId"), true)
			case http.StatusForbidden:
				denied.Add(1)
				if got.field("error") != "spawn_denied" || got.field("denial_reason") != "tier_limit_exceeded" ||
					got.field("tierLimit") != 3.0 {
					t.Errorf("denial: %s", got.body)
				}
			default:
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if admitted.Load() != 3 || denied.Load() != 27 {
		t.Errorf("%d admitted, %d denied", admitted.Load(), denied.Load())
	}
	health := s.do(http.MethodGet, "/api/health/governance", adminKey, "")
	want(t, "governance health", health, http.StatusOK, "")
	if !strings.Contains(string(health.body), `"satisfied":true`) {
		t.Errorf("governance health: %s", health.body)
	}
	want(t, "governance health for others", s.do(http.MethodGet, "/api/health/governance", token, ""), http.StatusForbidden, "forbidden")
	ids.Range(func(id, _ any) bool {
		name, _ := id.(string)
		s.awaitStatus(token, name, "running")
		want(t, "delete while running", s.do(http.MethodDelete, "/api/fleet/tasks/"+name, token, ""), http.StatusConflict, "conflict")
		want(t, "stop", s.do(http.MethodPost, "/api/fleet/tasks/"+name+"/stop", token, ""), http.StatusOK, "")
		s.awaitStatus(token, name, "cancelled")
		return true
	})
	want(t, "a place is free", s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("again")), http.StatusCreated, "")
}

// TestAdmission is T3.6: a decision, and a budget that falls by a spawn's cost.
func TestAdmission(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithFleet(dixie.FleetConfig{Runner: untilStopped()}), dixie.WithGovernance(dixie.GovernanceConfig{BudgetMicroUSD: 10_000}))
	token := s.token()
	remaining := func(a answer) float64 {
		t.Helper()
		budget, _ := a.field("budget").(map[string]any)
		n, _ := budget["remaining"].(float64)
		return n
	}
	before := s.do(http.MethodPost, "/api/governance/admission", token, "")
	want(t, "before", before, http.StatusOK, "")
	if before.field("decision") != "admit" || before.field("tier") != "architect" || remaining(before) != 10_000 {
		t.Errorf("before: %s", before.body)
	}
	spawned := s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("x"))
	want(t, "spawn", spawned, http.StatusCreated, "")
	cost, _ := spawned.field("costMicroUsd").(float64)
	after := s.do(http.MethodPost, "/api/governance/admission", token, `{"taskType":"feature","description":"x"}`)
	if after.field("decision") != "deny" || after.field("denial_reason") != "budget_exceeded" || remaining(after) != 10_000-cost {
		t.Errorf("after a spawn of %v: %s", cost, after.body)
	}
	denied := s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("y"))
	want(t, "spawn without money", denied, http.StatusForbidden, "spawn_denied")
	for _, body := range []string{`{"taskType":"dance"}`, `{"resource_type":"moon"}`, `[]`, `{"description":"` + strings.Repeat("x", 10_001) + `"}`} {
		want(t, body[:2], s.do(http.MethodPost, "/api/governance/admission", token, body), http.StatusBadRequest, "invalid_request")
	}
}

func TestSpawnInput(t *testing.T) {
	t.Parallel()
	list, err := dixie.NewMemoryAllowlist(nil, []string{"dxk_12345678"})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, nil, dixie.WithAllowlist(list))
	key, err := wallet.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := list.Add(t.Context(), 0, string(key.Address())); err != nil {
		t.Fatal(err)
	}
	token, _ := s.signIn(key).field("token").(string)
	want(t, "by API key", s.do(http.MethodPost, "/api/fleet/spawn", "dxk_12345678", spawnBody("x")), http.StatusUnauthorized, "unauthorized")
	for _, body := range []string{
		`{}`, `{"description":" ","taskType":"docs","repository":"r"}`, `{"description":"x","taskType":"dance","repository":"r"}`,
		`{"description":"x","taskType":"docs","repository":"r","maxRetries":11}`,
		`{"description":"x","taskType":"docs","repository":"r","timeoutMinutes":0}`,
		`{"description":"x","taskType":"docs","repository":"r","agentType":"codex"}`,
		`{"description":"x","taskType":"docs","repository":"r","model":"a b"}`,
		`{"description":"x","taskType":"docs","repository":"r","baseBranch":"a b"}`,
		`{"description":"x","taskType":"docs","repository":"r","maxRetries":1e99}`,
	} {
		want(t, body, s.do(http.MethodPost, "/api/fleet/spawn", token, body), http.StatusBadRequest, "invalid_request")
	}
	// The same key gives the same task, and costs nothing again.
	first := s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("x"), "Idempotency-Key", "k-1")
	second := s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("x"), "Idempotency-Key", "k-1")
	if first.field("taskId") != second.field("taskId") || second.header.Get("Idempotent-Replay") != "true" ||
		first.header.Get("Idempotent-Replay") != "" {
		t.Errorf("replay: %s then %s", first.body, second.body)
	}
	want(t, "same key, other content", s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("y"), "Idempotency-Key", "k-1"),
		http.StatusConflict, "idempotency_conflict")
	want(t, "strange key", s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("y"), "Idempotency-Key", "a b"),
		http.StatusBadRequest, "invalid_request")
	// Forged headers change nothing: the operator is the token's wallet.
	task := s.do(http.MethodGet, "/api/fleet/tasks/"+fmt.Sprint(first.field("taskId")), token, "",
		"X-Operator-Id", string(wallet.TestAddress), "X-Operator-Tier", "sovereign")
	if task.field("operatorId") != string(key.Address()) {
		t.Errorf("operator: %s", task.body)
	}
	var decision struct {
		Limit int `json:"limit"`
	}
	forged := s.do(http.MethodPost, "/api/governance/admission", token, "", "X-Conviction-Tier", "sovereign")
	if err := json.Unmarshal(forged.body, &decision); err != nil || decision.Limit != 3 {
		t.Errorf("forged tier: %s", forged.body)
	}
}
