// Package fleet runs tasks that agents do on behalf of operators: it admits them by a policy, keeps
// them in a store, hands each attempt to a [Runner], retries what failed and tells of every change.
//
// The rules are pure functions ([CanTransition], [Task.Move], the steps of an attempt); a [Store] is one
// atomic read-modify-write that loads the state, calls such a function and commits all it returned or
// nothing; a [Service] connects the two and is safe for concurrent use. Whoever made the Service closes
// it; it starts and stops the dispatching of its Store, which it uses alone.
package fleet

import (
	"errors"
	"fmt"
)

// Errors of the package. Match them with errors.Is; [DeniedError] and [ConflictError] with errors.As.
var (
	// ErrInvalidRequest says that a request is out of bounds. The text after it names the field and is
	// meant for the client.
	ErrInvalidRequest = errors.New("fleet: invalid request")
	// ErrNotFound says that there is no such task within the scope: unknown, of another operator, or
	// not an id at all. The three look the same on purpose.
	ErrNotFound = errors.New("fleet: task not found")
	// ErrIdempotencyConflict says that the operator used the idempotency key with other content.
	ErrIdempotencyConflict = errors.New("fleet: idempotency key was used with other content")
	// ErrStoreUnavailable says that the store did not answer, is full or has been closed; the same call
	// may succeed later.
	ErrStoreUnavailable = errors.New("fleet: store unavailable")
	// ErrFenced says that a worker wrote for an attempt that is no longer the task's: the task was
	// stopped, has ended, or has been given to a later attempt. Nothing was changed.
	ErrFenced = errors.New("fleet: attempt is over")
	// ErrStopped is the cause of a run's context when its task was stopped or taken away: it has ended, or
	// another attempt has it or will have it.
	ErrStopped = errors.New("fleet: task was stopped")
	// ErrTimeout is the cause of a run's context when an attempt took longer than it may.
	ErrTimeout = errors.New("fleet: attempt timed out")
	// ErrShutdown is the cause of a run's context when the service closes.
	ErrShutdown = errors.New("fleet: shutting down")
)

// DeniedError is a spawn that the policy refused.
type DeniedError struct {
	// Decision says why, and what was counted.
	Decision Decision
}

// Error names the reason.
func (e *DeniedError) Error() string { return "fleet: spawn denied: " + e.Decision.Reason }

// ConflictError is an operation that a task's state does not permit.
type ConflictError struct {
	// Status is the state the task is in.
	Status Status
	// Target is the state that was asked for; empty for a deletion.
	Target Status
}

// Error names both states.
func (e *ConflictError) Error() string {
	if e.Target == "" {
		return fmt.Sprintf("fleet: not possible while the task is %s", e.Status)
	}
	return fmt.Sprintf("fleet: a task that is %s cannot become %s", e.Status, e.Target)
}
