//go:build linux || darwin

package processrunner_test

import (
	"context"
	"errors"
	"fmt"

	"dixie/fleet"
	"dixie/fleet/processrunner"
)

// printer prints the log of a task.
type printer struct{}

func (printer) Started(string)    { fmt.Println("started") }
func (printer) Log(text string)   { fmt.Println(text) }
func (printer) PullRequest(n int) { fmt.Println("pull request", n) }

// Each agent type has a command; the prompt is its input, and what it writes is the task's log.
func ExampleRunner_Run() {
	runner, err := processrunner.New(processrunner.Config{
		Commands: map[string][]string{fleet.ClaudeCode: {"tr", "a-z", "A-Z"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	job := fleet.Job{Prompt: "fix the door", Task: fleet.Task{AgentType: fleet.ClaudeCode}}
	if err := runner.Run(context.Background(), job, printer{}); err != nil {
		fmt.Println(err)
	}
	job.Task.AgentType = fleet.Gemini
	if failed, ok := errors.AsType[*fleet.RunError](runner.Run(context.Background(), job, printer{})); ok {
		fmt.Println(failed.Reason, "permanent:", failed.Permanent)
	}
	// Output:
	// started
	// FIX THE DOOR
	// no_command permanent: true
}
