package reputation

import (
	"fmt"
	"time"
)

// Entry is one line of the event log: an event as it was accepted, with what was
// needed to apply it. The JSON form is the one in which stores keep entries.
type Entry struct {
	// Position is the place in the log, ascending, above 0, gaps allowed. The store
	// gives it; it is 0 before.
	Position int64 `json:"position"`
	// Event is in canonical form, with ID and At set.
	Event Event `json:"event"`
	// RecordedAt is when the service accepted the event.
	RecordedAt time.Time `json:"recorded_at"`
	// Fingerprint identifies the content that the sender gave.
	Fingerprint string `json:"fingerprint"`
	// Prior is what the score was blended with, kept because the population that it
	// came from has moved on. The fold sets it.
	Prior float64 `json:"prior"`
}

// NewEntry validates an event and brings it into the form in which it is kept:
// identifiers in lower case, times in UTC and whole microseconds, defaults filled
// in. Unlike for [Event.Validate] the ID is required. The error wraps
// [ErrInvalidEvent]. The entry shares nothing with the event.
func NewEntry(e Event, now time.Time) (Entry, error) {
	if e.ID == "" {
		return Entry{}, &FieldError{"event_id", isRequired}
	}

	if err := e.Validate(now); err != nil {
		return Entry{}, err
	}

	e = e.canonical()

	fingerprint, err := e.fingerprint()
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrInvalidEvent, err)
	}

	recorded := stamp(now)
	if e.At.IsZero() {
		e.At = recorded
	}

	return Entry{Event: e, RecordedAt: recorded, Fingerprint: fingerprint}, nil
}

// Clone returns a copy that shares nothing with the entry.
func (e Entry) Clone() Entry {
	e.Event = e.Event.clone()

	return e
}
