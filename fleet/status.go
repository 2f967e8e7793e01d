package fleet

import "slices"

// Status is a state of a task.
type Status string

// The states of a task.
const (
	// Proposed is admitted and waiting for a worker.
	Proposed Status = "proposed"
	// Spawning has a worker that is about to start the work.
	Spawning Status = "spawning"
	// Running has really started: its [Runner] said so.
	Running Status = "running"
	// PRCreated has a pull request.
	PRCreated Status = "pr_created"
	// Reviewing has a pull request under review.
	Reviewing Status = "reviewing"
	// Ready has a pull request that may be merged.
	Ready Status = "ready"
	// Merged is the end of work whose pull request was merged.
	Merged Status = "merged"
	// Failed is a failed attempt. A task passes through it on the way to retrying or abandoned.
	Failed Status = "failed"
	// Retrying waits for its next attempt.
	Retrying Status = "retrying"
	// Abandoned is the end of work whose attempts are used up.
	Abandoned Status = "abandoned"
	// Rejected is a refused pull request. A task passes through it like through failed.
	Rejected Status = "rejected"
	// Completed is the end of work that needed no pull request.
	Completed Status = "completed"
	// Cancelled is the end of a task that was stopped.
	Cancelled Status = "cancelled"
)

// Statuses returns every state, in the order of a task's life.
func Statuses() []Status {
	return []Status{
		Proposed, Spawning, Running, PRCreated, Reviewing, Ready, Merged,
		Failed, Retrying, Abandoned, Rejected, Completed, Cancelled,
	}
}

// next returns the states that may follow one.
func next(from Status) []Status {
	switch from {
	case Proposed:
		return []Status{Spawning, Failed, Cancelled}
	case Spawning:
		return []Status{Running, Failed, Cancelled}
	case Running:
		return []Status{PRCreated, Completed, Failed, Cancelled}
	case PRCreated:
		return []Status{Reviewing, Failed, Cancelled}
	case Reviewing:
		return []Status{Ready, Rejected, Cancelled}
	case Ready:
		return []Status{Merged, Cancelled}
	case Failed, Rejected:
		return []Status{Retrying, Abandoned}
	case Retrying:
		return []Status{Spawning, Abandoned, Cancelled}
	case Merged, Abandoned, Completed, Cancelled:
		return nil
	default:
		return nil
	}
}

// CanTransition reports whether a task may go from one state to the other in one step.
func CanTransition(from, to Status) bool { return slices.Contains(next(from), to) }

// Transition is [CanTransition] with the refusal as a [*ConflictError].
func Transition(from, to Status) error {
	if !CanTransition(from, to) {
		return &ConflictError{Status: from, Target: to}
	}
	return nil
}

// Active reports whether a task in this state counts against its operator's limit.
func (s Status) Active() bool {
	switch s {
	case Proposed, Spawning, Running, PRCreated, Reviewing, Ready, Retrying:
		return true
	case Merged, Failed, Abandoned, Rejected, Completed, Cancelled:
		return false
	default:
		return false
	}
}

// Terminal reports whether no state follows this one. Only such a task can be deleted.
func (s Status) Terminal() bool {
	return s == Merged || s == Abandoned || s == Completed || s == Cancelled
}

// Succeeded reports whether the state counts as completed work.
func (s Status) Succeeded() bool { return s == Merged || s == Completed }

// CanStop reports whether a task in this state can be stopped.
func (s Status) CanStop() bool { return CanTransition(s, Cancelled) }

// CanDelete reports whether a task in this state can be deleted.
func (s Status) CanDelete() bool { return s.Terminal() }
