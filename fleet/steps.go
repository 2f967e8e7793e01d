package fleet

import (
	"errors"
	"time"
)

// The steps of a task's life are pure functions from the task as it is to the change to commit. They
// run under the store's lock, so that what they decide by is what they change.

// errUnchanged is returned by a step that has nothing to do.
var errUnchanged = errors.New("fleet: nothing to change")

// changeTo is the change to a task that has come into a state, with the event that tells of it.
func changeTo(t Task) Change { return Change{Task: t, Event: eventFor(t)} }

// endOf is changeTo for a task that goes no further: work that never ran is not paid.
func endOf(t Task) Change {
	change := changeTo(t)
	change.Release = !t.Ran()
	return change
}

// begin takes an attempt up. A second delivery of the same attempt is a conflict.
func begin(t Task, at time.Time) (Change, error) {
	moved, err := t.Move(at, Spawning)
	return changeTo(moved), err
}

// started notes that work has really begun.
func started(t Task, at time.Time, reference string) (Change, error) {
	if t.Status != Spawning {
		return Change{}, errUnchanged
	}
	moved, err := t.Move(at, Running)
	moved.Reference = reference
	return changeTo(moved), err
}

// proposePR notes a pull request; one that is known already, or replaced, changes the number only.
func proposePR(t Task, at time.Time, number int) (Change, error) {
	var path []Status
	switch t.Status {
	case Spawning:
		path = []Status{Running, PRCreated}
	case Running:
		path = []Status{PRCreated}
	case PRCreated:
		if t.PRNumber == number {
			return Change{}, errUnchanged
		}
	case Proposed, Reviewing, Ready, Merged, Failed, Retrying, Abandoned, Rejected, Completed, Cancelled:
		return Change{}, errUnchanged
	}
	moved, err := t.Move(at, path...)
	moved.PRNumber = number
	return changeTo(moved), err
}

// succeed ends an attempt whose work is done. Work with a pull request is not over with the attempt.
func succeed(t Task, at time.Time) (Change, error) {
	var path []Status
	switch t.Status {
	case Spawning:
		path = []Status{Running, Completed}
	case Running:
		path = []Status{Completed}
	case Proposed, PRCreated, Reviewing, Ready, Merged, Failed, Retrying, Abandoned, Rejected, Completed, Cancelled:
		return Change{}, errUnchanged
	}
	moved, err := t.Move(at, path...)
	return changeTo(moved), err
}

// promptShrink is what an attempt that ran out of memory leaves of the next one's prompt.
const promptShrinkNumerator, promptShrinkDenominator = 3, 4

// fail ends an attempt that failed: another one follows, unless they are used up or of no use.
func fail(t Task, at time.Time, failure RunError, delay time.Duration) (Change, error) {
	if t.Status == Reviewing || t.Status == Ready {
		// The work is in a pull request that others look at; what its agent does now is no longer it.
		return Change{}, errUnchanged
	}
	moved, err := t.Move(at, Failed)
	if err != nil {
		return Change{}, err
	}
	moved.Failure = &Failure{Reason: failure.Reason, Attempt: t.Attempt, ExitCode: failure.ExitCode, At: at}
	if failure.Reason == ReasonOutOfMemory {
		moved.PromptTokens = t.PromptTokens * promptShrinkNumerator / promptShrinkDenominator
	}
	return retryOrAbandon(moved, at, !failure.Permanent, delay)
}

// retryOrAbandon goes on from failed or rejected, in the same step, so that no task rests there: it
// would hold no place in its operator's limit, and could come back when there is none.
func retryOrAbandon(t Task, at time.Time, worthIt bool, delay time.Duration) (Change, error) {
	if !worthIt || t.RetryCount >= t.MaxRetries {
		moved, err := t.Move(at, Abandoned)
		return endOf(moved), err
	}
	t.RetryCount++
	return tryAgain(t, at, at.Add(delay))
}

// tryAgain goes on from failed or rejected to the next attempt, to which nothing of the last one belongs.
func tryAgain(t Task, at, runAt time.Time) (Change, error) {
	moved, err := t.Move(at, Retrying)
	moved.Attempt++
	moved.Reference, moved.PRNumber = "", 0
	change := changeTo(moved)
	change.RunAt = runAt
	return change, err
}

// interrupt ends an attempt because its process is about to end. Where tasks outlive the process the
// attempt is handed over; where they do not, the task has failed.
func interrupt(t Task, at time.Time, ephemeral bool) (Change, error) {
	if t.Status != Spawning && t.Status != Running {
		return Change{}, errUnchanged
	}
	if !ephemeral {
		return handOver(t, at, ReasonShutdown)
	}
	moved, err := lose(t, at, ReasonShutdown)
	return endOf(moved), err
}

// Rescue takes a task from a worker that is gone, which is for a store that outlives its workers to find
// out: the attempt has failed with [ReasonLost], and the next one is due at once and spends no retry. A
// task that waits for a worker, has a pull request or has ended is none that a worker can lose: that is a
// [*ConflictError].
func Rescue(t Task, at time.Time) (Change, error) {
	if t.Status != Spawning && t.Status != Running {
		return Change{}, &ConflictError{Status: t.Status, Target: Retrying}
	}
	return handOver(t, at, ReasonLost)
}

// handOver ends an attempt that did not fail by itself, and lets another one begin, which spends no retry.
func handOver(t Task, at time.Time, reason string) (Change, error) {
	moved, err := lose(t, at, reason)
	if err != nil {
		return Change{}, err
	}
	return tryAgain(moved, at, at)
}

// lose lets an attempt fail through no fault of its own.
func lose(t Task, at time.Time, reason string) (Task, error) {
	moved, err := t.Move(at, Failed)
	moved.Failure = &Failure{Reason: reason, Attempt: t.Attempt, At: at}
	return moved, err
}

// stop cancels a task.
func stop(t Task, at time.Time) (Change, error) {
	moved, err := t.Move(at, Cancelled)
	return endOf(moved), err
}

// advance moves a task along the life of its pull request.
func advance(t Task, at time.Time, to Status, delay time.Duration) (Change, error) {
	if to == Failed && t.Status != PRCreated {
		// Everywhere else it is the attempt itself that fails.
		return Change{}, &ConflictError{Status: t.Status, Target: to}
	}
	moved, err := t.Move(at, to)
	if err != nil {
		return Change{}, err
	}
	switch to {
	case Failed:
		moved.Failure = &Failure{Reason: ReasonReported, Attempt: t.Attempt, At: at}
		return retryOrAbandon(moved, at, true, delay)
	case Rejected:
		moved.Failure = &Failure{Reason: ReasonRejected, Attempt: t.Attempt, At: at}
		return retryOrAbandon(moved, at, true, delay)
	case Reviewing, Ready, Merged, Proposed, Spawning, Running, PRCreated, Retrying, Abandoned, Completed, Cancelled:
	}
	return changeTo(moved), nil
}
