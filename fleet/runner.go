package fleet

import (
	"context"
	"errors"
	"time"
)

// Runner does the work of one attempt. It is called by several workers at a time.
//
// Run works until the job is done, and then returns nil; any error is a failed attempt. It calls
// report.Started as soon as the work has really begun. When ctx ends it stops the work, returns an error
// soon, and leaves nothing behind; context.Cause tells [ErrStopped], [ErrTimeout] and [ErrShutdown]
// apart. A [*RunError] says more about a failure; any other error counts as one that may pass. The text
// of an error goes to the debug log only, and must not quote the prompt. A panic is a failed attempt.
//
// ctx carries the span of [Task].TraceParent, with its TraceState, as a remote one, and no other: spans that start in it belong to
// the trace of the spawn.
type Runner interface {
	Run(ctx context.Context, job Job, report Report) error
}

// RunnerFunc is a function as a [Runner].
type RunnerFunc func(ctx context.Context, job Job, report Report) error

// Run calls the function.
func (f RunnerFunc) Run(ctx context.Context, job Job, report Report) error {
	return f(ctx, job, report)
}

// Job is one attempt at a task.
type Job struct {
	// Task is the task as the attempt found it; its Attempt tells attempts apart.
	Task Task
	// Prompt is the task as text, within Task.PromptTokens.
	Prompt string
}

// Report takes what a [Runner] has to tell about its job. It is safe for concurrent use. Calls after Run
// has returned, or after the task was taken away, do nothing.
type Report interface {
	// Started says that work has begun, and under which reference; the task becomes running. Further
	// calls do nothing.
	Started(reference string)
	// Log adds text to the task's log, which is kept as lines without control characters. Lines may
	// appear a fraction of a second later. When the store is away, lines are lost.
	Log(text string)
	// PullRequest says that the work has a pull request of that number, above 0; the task becomes
	// pr_created. When Run then ends without an error the task stays so, and keeps its place in the
	// operator's limit, until [Service.Advance] or [Service.Stop] moves it on.
	PullRequest(number int)
}

// RunError is a failed attempt with what is known of it.
type RunError struct {
	// Reason is a word for the task's [Failure]; anything but lower-case letters, digits and
	// underscores, 64 at most, counts as [ReasonRunner].
	Reason string
	// ExitCode is that of a process, or nil.
	ExitCode *int
	// Permanent says that trying again is of no use.
	Permanent bool
	// RetryAfter is how long to wait at least before the next attempt, an hour at most; 0 is no wish.
	RetryAfter time.Duration
	// Err is the cause, or nil.
	Err error
}

// Error names the reason and the cause.
func (e *RunError) Error() string {
	if e.Err == nil {
		return "fleet: run failed: " + e.Reason
	}
	return "fleet: run failed: " + e.Reason + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *RunError) Unwrap() error { return e.Err }

const maxReasonLength = 64

func validReason(reason string) bool {
	if reason == "" || len(reason) > maxReasonLength {
		return false
	}
	for _, r := range reason {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' {
			return false
		}
	}
	return true
}

// asRunError gives any error of a Runner the form of a RunError with a valid reason.
func asRunError(err error) RunError {
	var known *RunError
	if !errors.As(err, &known) {
		return RunError{Reason: ReasonRunner, Err: err}
	}
	out := *known
	if !validReason(out.Reason) {
		out.Reason = ReasonRunner
	}
	return out
}
