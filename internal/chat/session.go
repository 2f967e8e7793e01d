package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"dixie/finn"
)

// MaxFirstMessage is how many characters of its first prompt a session keeps.
const MaxFirstMessage = 200

// walletOwner is how the owner of a session begins when it is a wallet.
const walletOwner = "wallet:"

// Session is what we remember of a conversation. Finn knows its content and not its owner.
type Session struct {
	ID string
	// Owner is "wallet:" and an address, or "key:" and the hash of an API key.
	Owner string
	// FirstMessage is the start of the first prompt, [MaxFirstMessage] characters at most.
	FirstMessage string
	CreatedAt    time.Time
	// LastActivity is when a turn was last answered; CreatedAt before the first.
	LastActivity time.Time
	// Turns is how many turns were answered.
	Turns int
}

// SessionStore remembers sessions. It is safe for concurrent use. Its methods fail with
// [ErrSessionNotFound] as documented; any other error means that the store could not be asked.
type SessionStore interface {
	// Create adds a session. An id that exists already is an error: it may be another owner's.
	Create(ctx context.Context, s Session) error
	// Get returns a session whoever owns it, or [ErrSessionNotFound].
	Get(ctx context.Context, id string) (Session, error)
	// Touch books a turn that was answered: one more in Turns, and LastActivity moved forward to at,
	// never back. [ErrSessionNotFound] when it is not there.
	Touch(ctx context.Context, id string, at time.Time) error
	// List returns the sessions of an owner, newest activity first, limit at most; 0 or less: all.
	List(ctx context.Context, owner string, limit int) ([]Session, error)
}

// Detail is one session as its owner sees it.
type Detail struct {
	ID           string
	IsStreaming  bool
	MessageCount int
	CreatedAt    time.Time
	LastActivity time.Time
}

// Sessions lists the sessions of owner, newest activity first, [MaxListed] at most. It fails with
// [ErrStoreUnavailable].
func (s *Service) Sessions(ctx context.Context, owner string) ([]Session, error) {
	list, err := s.sessions.List(ctx, owner, MaxListed)
	if err != nil {
		return nil, storeError(err)
	}
	return list, nil
}

// Session describes a session of owner. Finn drops an idle session from its memory and then no longer
// describes it, although the conversation goes on with the next prompt: the answer is then made of what
// we remember, with two messages for each answered turn. It fails with [ErrSessionNotFound],
// [ErrStoreUnavailable] and the sentinels of package finn.
func (s *Service) Session(ctx context.Context, owner, id string) (Detail, error) {
	session, err := s.owned(ctx, owner, id)
	if err != nil {
		return Detail{}, err
	}
	d := Detail{ID: session.ID, CreatedAt: session.CreatedAt, LastActivity: session.LastActivity}
	state, err := s.finn.Session(ctx, id)
	switch {
	case errors.Is(err, finn.ErrSessionNotFound):
		d.MessageCount = 2 * session.Turns //nolint:mnd // A prompt and its answer.
	case err != nil:
		return Detail{}, fmt.Errorf("chat: describe session: %w", err)
	default:
		d.IsStreaming, d.MessageCount = state.IsStreaming, state.MessageCount
	}
	return d, nil
}

// Attach subscribes to the events of a session of owner: first those that are held and that no reader
// took, then those to come. A session has up to 64 subscriptions; one more ends its oldest with
// [ErrDisplaced]. It fails with [ErrSessionNotFound], [ErrStoreUnavailable], [ErrTooManyReaders] when
// the owner has 1000 or the whole service 10000, and [ErrClosed]. With a [Relay] it returns when the events
// of turns at other processes arrive as well, or could not be had within a second: they come later then.
func (s *Service) Attach(ctx context.Context, owner, id string) (*Subscription, error) {
	if _, err := s.owned(ctx, owner, id); err != nil {
		return nil, err
	}
	sub, err := s.hub.attach(owner, id)
	if err == nil && s.bridge != nil {
		// After the reader is there: what comes over the relay for nobody is dropped.
		s.bridge.join(ctx, sub)
	}
	return sub, err
}

// owned returns a session if it is owner's.
func (s *Service) owned(ctx context.Context, owner, id string) (Session, error) {
	if owner == "" || !finn.ValidSessionID(id) {
		return Session{}, ErrSessionNotFound
	}
	session, err := s.sessions.Get(ctx, id)
	if err != nil {
		return Session{}, storeError(err)
	}
	if session.Owner != owner {
		return Session{}, ErrSessionNotFound
	}
	return session, nil
}

func storeError(err error) error {
	if errors.Is(err, ErrSessionNotFound) || errors.Is(err, ErrStoreUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrStoreUnavailable, err)
}

// firstMessage is a copy, so that a session does not hold a whole prompt in memory.
func firstMessage(prompt string) string {
	runes := 0
	for at := range prompt {
		if runes == MaxFirstMessage {
			return strings.Clone(prompt[:at])
		}
		runes++
	}
	return strings.Clone(prompt)
}
