package finnrunner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dixie/finn"
	"dixie/finn/localfinn"
	"dixie/fleet"
	"dixie/fleet/finnrunner"
	"dixie/fleet/memory"
)

// admitAll is a policy without a limit.
type admitAll struct{}

func (admitAll) Decide(fleet.Request, fleet.Snapshot) fleet.Decision {
	return fleet.Decision{Admit: true}
}

// onLocalFinn is a started service whose tasks run on a Finn of the test's own.
func onLocalFinn(t *testing.T, onEvent func(context.Context, fleet.Event)) *fleet.Service {
	t.Helper()
	local, err := localfinn.Start(localfinn.Config{})
	if err != nil {
		t.Fatalf("starting Finn: %v", err)
	}
	client, err := finn.New(finn.Config{URL: local.URL()})
	if err != nil {
		t.Fatalf("finn.New: %v", err)
	}
	runner, err := finnrunner.New(client)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	service, err := fleet.New(fleet.Config{
		Store: memory.New(memory.Config{}), Runner: runner, Policy: admitAll{}, OnEvent: onEvent,
	})
	if err != nil {
		t.Fatalf("fleet.New: %v", err)
	}
	if err := service.Start(t.Context()); err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := errors.Join(service.Close(ctx), client.Close(), local.Close(ctx)); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return service
}

func spawn(t *testing.T, service *fleet.Service, description string) string {
	t.Helper()
	spawned, err := service.Spawn(t.Context(), fleet.SpawnRequest{
		Operator: "alice", Description: description, TaskType: "docs", Repository: "acme/house",
	})
	if err != nil {
		t.Fatalf("Spawn: %v", err)
	}
	return spawned.Task.ID
}

// TestTaskOnFinn is T3.4: the task runs, ends, and Finn's own words are in its log.
func TestTaskOnFinn(t *testing.T) {
	t.Parallel()
	ended := make(chan fleet.Event, 10)
	service := onLocalFinn(t, func(_ context.Context, e fleet.Event) {
		if e.Type != fleet.AgentSpawned {
			ended <- e
		}
	})
	mine := fleet.Scope{Operator: "alice"}
	token := fmt.Sprintf("token%d", time.Now().UnixNano())
	id := spawn(t, service, "Write about "+token)
	select {
	case e := <-ended:
		if e.Type != fleet.AgentCompleted {
			t.Fatalf("the task ended with %s: %s", e.Type, e.Reason)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the task did not end")
	}
	task, err := service.Task(t.Context(), mine, id)
	if err != nil || task.Status != fleet.Completed || task.Reference == "" || !task.Ran() {
		t.Errorf("task %+v, %v", task, err)
	}
	lines, err := service.Logs(t.Context(), mine, id, 100)
	if err != nil || !strings.Contains(strings.Join(lines, "\n"), token) {
		t.Errorf("log %q, %v; want Finn's words", lines, err)
	}
}

// TestStopOnFinn is T3.4: the task is running while Finn still thinks, and can be stopped then.
func TestStopOnFinn(t *testing.T) {
	t.Parallel()
	service := onLocalFinn(t, nil)
	mine := fleet.Scope{Operator: "alice"}
	id := spawn(t, service, "[[sleep 60s]] and write")
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for running := false; !running; {
		select {
		case <-tick.C:
			task, err := service.Task(t.Context(), mine, id)
			if err != nil {
				t.Fatalf("Task: %v", err)
			}
			running = task.Status == fleet.Running
		case <-deadline:
			t.Fatal("the task was not running within 10 s")
		}
	}
	task, err := service.Stop(t.Context(), mine, id)
	if err != nil || task.Status != fleet.Cancelled {
		t.Errorf("Stop: %s, %v", task.Status, err)
	}
}
