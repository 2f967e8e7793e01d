// Package reputation turns observations of an agent's work into a score that can
// be trusted as far as there is evidence for it.
//
// The heart is pure. An agent's [Aggregate] is an exact function of its event log:
// [Next] applies one [Entry], and every entry keeps the prior that was used when
// it was first applied, so that [Rebuild] reproduces each aggregate bit for bit.
// A score starts as a damped moving average of the observations ([EMA]) and is
// pulled towards the mean of all agents while there are few of them ([Blend]).
//
// A [Store] never decides. It loads what a batch of events needs under its lock,
// calls the [Fold] that it was handed, and commits what comes back, all or
// nothing. [Service] is what callers use: it validates, coalesces concurrent
// recordings into batches, and presents aggregates as a [View].
//
// Functions are safe for concurrent use, as are [Service] and every [Store].
// Values that functions return belong to the caller; values that they are given
// are not changed.
package reputation

import "errors"

// Errors that the package and its stores return. Compare with [errors.Is].
var (
	// ErrNotFound says that nothing was ever recorded for the agent.
	ErrNotFound = errors.New("reputation: agent not found")

	// ErrInvalidEvent says that an event breaks a rule of its type; see [FieldError].
	ErrInvalidEvent = errors.New("reputation: invalid event")

	// ErrEventConflict says that the event's id was used before, for another agent
	// or with other content.
	ErrEventConflict = errors.New("reputation: event id was used for another event")

	// ErrStoreUnavailable says that the store could not be asked, or did not answer
	// in time, or is full. Whether an event was recorded is then not known; recording
	// it again with the same id is safe.
	ErrStoreUnavailable = errors.New("reputation: store is unavailable")
)
