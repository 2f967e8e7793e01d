package finnrunner_test

import (
	"context"
	"errors"
	"fmt"

	"dixie/finn"
	"dixie/fleet"
	"dixie/fleet/finnrunner"
)

// busyFinn has its circuit open.
type busyFinn struct{}

func (busyFinn) CreateSession(context.Context, finn.SessionOptions) (finn.Session, error) {
	return finn.Session{}, finn.ErrCircuitOpen
}

func (busyFinn) Stream(context.Context, string, string, func(finn.Event) error) (finn.Turn, error) {
	return finn.Turn{}, finn.ErrCircuitOpen
}

// A failure of Finn becomes a failed attempt; most of them may pass.
func ExampleRunner_Run() {
	runner, err := finnrunner.New(busyFinn{})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = runner.Run(context.Background(), fleet.Job{Prompt: "Fix the door"}, nil)
	if failed, ok := errors.AsType[*fleet.RunError](err); ok {
		fmt.Println(failed.Reason, "permanent:", failed.Permanent)
	}
	// Output: circuit_open permanent: false
}
