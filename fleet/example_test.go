package fleet_test

import (
	"context"
	"errors"
	"fmt"

	"dixie/fleet"
	"dixie/fleet/memory"
)

// oneEach admits one active task for each operator.
type oneEach struct{}

func (oneEach) Decide(_ fleet.Request, s fleet.Snapshot) fleet.Decision {
	if s.Active >= 1 {
		return fleet.Decision{Reason: "one at a time", Active: s.Active, Limit: 1}
	}
	return fleet.Decision{Admit: true, Limit: 1, CostMicroUSD: 4900}
}

// A service runs what it admits, and tells of it.
func Example() {
	ctx := context.Background()
	done := make(chan fleet.Event, 1)
	service, err := fleet.New(fleet.Config{
		Store:  memory.New(memory.Config{}),
		Policy: oneEach{},
		Runner: fleet.RunnerFunc(func(_ context.Context, job fleet.Job, report fleet.Report) error {
			report.Started("desk 1")
			report.Log("writing " + job.Task.Description)
			return nil
		}),
		OnEvent: func(_ context.Context, e fleet.Event) {
			if e.Type == fleet.AgentCompleted {
				done <- e
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := service.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = service.Close(ctx) }()

	spawned, err := service.Spawn(ctx, fleet.SpawnRequest{
		Operator: "alice", Description: "the manual", TaskType: "docs", Repository: "acme/house",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(spawned.Task.AgentType, spawned.Task.Model, spawned.Task.CostMicroUSD)

	event := <-done
	mine := fleet.Scope{Operator: "alice"}
	task, _ := service.Task(ctx, mine, event.TaskID)
	lines, _ := service.Logs(ctx, mine, event.TaskID, 10)
	fmt.Println(task.Status, lines)

	_, err = service.Task(ctx, fleet.Scope{Operator: "bob"}, event.TaskID)
	fmt.Println(errors.Is(err, fleet.ErrNotFound))
	// Output:
	// claude_code claude-sonnet-4-5 4900
	// completed [writing the manual]
	// true
}

// A denial says why.
func ExampleDeniedError() {
	ctx := context.Background()
	service, err := fleet.New(fleet.Config{
		Store: memory.New(memory.Config{}), Policy: oneEach{},
		Runner: fleet.RunnerFunc(func(context.Context, fleet.Job, fleet.Report) error { return nil }),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := fleet.SpawnRequest{Operator: "alice", Description: "the manual", TaskType: "docs", Repository: "acme/house"}
	for range 2 {
		_, err = service.Spawn(ctx, request)
	}
	if denied, ok := errors.AsType[*fleet.DeniedError](err); ok {
		fmt.Println(denied.Decision.Reason, denied.Decision.Active, "of", denied.Decision.Limit)
	}
	// Output: one at a time 1 of 1
}

// Not every state follows every other.
func ExampleTransition() {
	fmt.Println(fleet.CanTransition(fleet.Reviewing, fleet.Merged))
	fmt.Println(fleet.Transition(fleet.Reviewing, fleet.Merged))
	// Output:
	// false
	// fleet: a task that is reviewing cannot become merged
}
