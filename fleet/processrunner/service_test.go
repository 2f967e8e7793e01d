//go:build linux || darwin

package processrunner_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
	"dixie/fleet/memory"
	"dixie/fleet/processrunner"
)

// anybody admits everybody.
type anybody struct{}

func (anybody) Decide(fleet.Request, fleet.Snapshot) fleet.Decision {
	return fleet.Decision{Admit: true, Limit: 10}
}

// testBundle is a fleet whose agents are the script.
type testBundle struct {
	*testing.T

	service *fleet.Service
	events  chan fleet.Event
}

func setup(t *testing.T, runner *processrunner.Runner) testBundle {
	t.Helper()
	b := testBundle{T: t, events: make(chan fleet.Event, 100)}
	service, err := fleet.New(fleet.Config{
		Store: memory.New(memory.Config{}), Runner: runner, Policy: anybody{},
		OnEvent: func(_ context.Context, e fleet.Event) { b.events <- e },
	})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	if err := service.Start(t.Context()); err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		if err := service.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	b.service = service
	return b
}

// alice is who spawns.
const alice = "alice"

func scope() fleet.Scope { return fleet.Scope{Operator: alice} }

func (b testBundle) spawn() string {
	b.Helper()
	none := 0
	spawned, err := b.service.Spawn(b.Context(), fleet.SpawnRequest{
		Operator: alice, Description: "the manual", TaskType: "docs", Repository: "acme/house", MaxRetries: &none,
	})
	if err != nil {
		b.Fatalf("Spawn: %v", err)
	}
	return spawned.Task.ID
}

// ends waits until a task has ended and returns it.
func (b testBundle) ends(id string) fleet.Task {
	b.Helper()
	for event := fleet.AgentSpawned; event == fleet.AgentSpawned; {
		event = await(b.T, b.events, "the task's end").Type
	}
	task, err := b.service.Task(b.Context(), scope(), id)
	if err != nil {
		b.Fatalf("Task: %v", err)
	}
	return task
}

func TestTaskIsCompletedAndItsLogIsText(t *testing.T) {
	t.Parallel()
	b := setup(t, shell(t, `printf 'a\000b\n\377\376 c\n\033[31mred\r\nno end'`))
	id := b.spawn()
	if task := b.ends(id); task.Status != fleet.Completed || task.Failure != nil {
		t.Errorf("task %+v, want it completed", task)
	}
	log, err := b.service.Logs(t.Context(), scope(), id, 10)
	if diff := cmp.Diff([]string{"ab", "\uFFFD c", "[31mred", "no end"}, log); err != nil || diff != "" {
		t.Errorf("Logs: %v (-want +got):\n%s", err, diff)
	}
}

func TestTaskThatRanOutOfMemoryFails(t *testing.T) {
	t.Parallel()
	b := setup(t, shell(t, `kill -KILL $$`))
	task := b.ends(b.spawn())
	if f := task.Failure; task.Status != fleet.Abandoned || f == nil || f.Reason != fleet.ReasonOutOfMemory || f.ExitCode == nil || *f.ExitCode != 137 {
		t.Errorf("task %+v with %+v, want it abandoned", task, f)
	}
	if task.PromptTokens != fleet.DefaultPromptTokens*3/4 {
		t.Errorf("the next prompt may have %d tokens", task.PromptTokens)
	}
}

func TestTaskThatIsStoppedLeavesNoProcess(t *testing.T) {
	t.Parallel()
	b := setup(t, shell(t, `sleep 600`))
	id := b.spawn()
	var task fleet.Task
	eventually(t, "the task to run", func() bool {
		var err error
		task, err = b.service.Task(t.Context(), scope(), id)
		return err == nil && task.Status == fleet.Running
	})
	if _, err := b.service.Stop(t.Context(), scope(), id); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	gone(t, processNumber(t, task.Reference))
	if task := b.ends(id); task.Status != fleet.Cancelled {
		t.Errorf("task %+v, want it cancelled", task)
	}
}
