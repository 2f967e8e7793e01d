// Package chat runs conversations with Finn: it remembers who owns a session, keeps the turns of a
// session in line, translates what Finn says into the events that clients understand, and holds those
// events for the reader that comes next. A [Service] is safe for concurrent use; it does not own the
// backend, the store, the lock and the relay that it is given. Each answer that Finn gives in one piece is awaited on
// a goroutine that outlives a caller who goes away, stays for the next answer for a second, and ends with
// [Service.Close]. Everything that a client can make grow has a bound, which is named where it is kept.
package chat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"dixie/finn"
)

// The errors of this package. Errors of the backend are passed on wrapped, so that the sentinels of
// package finn can be tested as well.
var (
	// ErrSessionNotFound: there is no such session, or it is another owner's. Nobody learns which.
	ErrSessionNotFound = errors.New("chat: session not found")
	// ErrBusy: the session's earlier turns did not end in time, or too many prompts wait already.
	ErrBusy = errors.New("chat: session is busy")
	// ErrStoreUnavailable: the session store could not be asked. It wraps the cause.
	ErrStoreUnavailable = errors.New("chat: session store unavailable")
	// ErrTooManyReaders: the owner or the service has as many subscriptions as it may have.
	ErrTooManyReaders = errors.New("chat: too many readers")
	// ErrSlowReader ends a subscription that did not keep up with its session's events.
	ErrSlowReader = errors.New("chat: reader is too slow")
	// ErrDisplaced ends the oldest subscription of a session that got one too many.
	ErrDisplaced = errors.New("chat: displaced by a newer reader")
	// ErrClosed: the service or the subscription has been closed.
	ErrClosed = errors.New("chat: closed")
	// ErrConfig: the configuration cannot work. It wraps what is wrong.
	ErrConfig = errors.New("chat: configuration")
)

// DefaultTurnLimit is the time that a turn may take when [Config] does not say otherwise.
const DefaultTurnLimit = 120 * time.Second

// MaxListed bounds the answer of [Service.Sessions].
const MaxListed = 1000

// bookkeepingLimit bounds the note that a finished turn leaves in the store.
const bookkeepingLimit = 5 * time.Second

// Backend is what chat needs of Finn. [finn.Client] is one.
type Backend interface {
	// CreateSession starts a conversation.
	CreateSession(ctx context.Context, opts finn.SessionOptions) (finn.Session, error)
	// Send runs a whole turn. The backend may go on with it after ctx has ended, and may create a
	// session whose id it does not know.
	Send(ctx context.Context, sessionID, text string) (finn.Turn, error)
	// Stream runs a turn and calls each with its events, in order, on the calling goroutine. When ctx
	// ends or each fails, it aborts the turn and returns when the session is free again, or soon.
	Stream(ctx context.Context, sessionID, text string, each func(finn.Event) error) (finn.Turn, error)
	// Session returns the state of a session, or an error that is [finn.ErrSessionNotFound].
	Session(ctx context.Context, id string) (finn.SessionState, error)
}

var _ Backend = (*finn.Client)(nil)

// Interaction tells of a turn that was answered.
type Interaction struct {
	// Wallet is the owner's address; empty when an API key owns the session.
	Wallet    string
	SessionID string
	MessageID string
	At        time.Time
}

// Config is what a [Service] is made of.
type Config struct {
	// Finn answers the prompts. Required.
	Finn Backend
	// Sessions remembers sessions and their owners. Required.
	Sessions SessionStore
	// Locks keeps the turns of a session in line. Nil: within this process, by [NewMemoryLocks].
	Locks TurnLock
	// Relay carries the events of turns to subscriptions at other processes, and theirs to those of this
	// one. The service does not close it. Nil: each process serves the subscriptions of its own turns.
	Relay Relay
	// TurnLimit bounds a turn with all that belongs to it, waiting for earlier turns of the session
	// included. Zero: [DefaultTurnLimit].
	TurnLimit time.Duration
	// OnInteraction is called once after each answered turn, on the turn's goroutine, before its caller
	// gets the reply: it must return at once (put what takes time into a queue) and must not assume that
	// ctx lives on. A panic is logged and changes nothing. Nil: nobody is told.
	OnInteraction func(ctx context.Context, i Interaction)
	// Logger gets what has no caller to be told. It never sees prompts, answers or owners. Nil: discarded.
	Logger *slog.Logger
}

// Service runs the turns. Make one with [New]; it is safe for concurrent use.
type Service struct {
	finn     Backend
	sessions SessionStore
	locks    TurnLock
	limit    time.Duration
	notify   func(ctx context.Context, i Interaction)
	logger   *slog.Logger
	hub      *hub
	// bridge is nil without a relay.
	bridge *bridge

	// life ends with Close; abandoned prompts watch it.
	life context.Context //nolint:containedctx // It is the life of the service, not of a request.
	end  context.CancelFunc

	mu         sync.Mutex
	closed     bool // GUARDED_BY(mu)
	background sync.WaitGroup
	// work has no buffer: only a worker that waits can take something from it.
	work chan func()
}

// New makes a service. Its errors wrap [ErrConfig] and name every problem at once.
func New(cfg Config) (*Service, error) {
	var problems []error
	if cfg.Finn == nil {
		problems = append(problems, errors.New("no backend"))
	}
	if cfg.Sessions == nil {
		problems = append(problems, errors.New("no session store"))
	}
	if cfg.TurnLimit < 0 {
		problems = append(problems, errors.New("negative turn limit"))
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrConfig, errors.Join(problems...))
	}
	s := &Service{
		finn: cfg.Finn, sessions: cfg.Sessions, locks: cfg.Locks, limit: cfg.TurnLimit,
		notify: cfg.OnInteraction, logger: cfg.Logger, hub: newHub(), work: make(chan func()),
	}
	if s.locks == nil {
		s.locks = NewMemoryLocks()
	}
	if s.limit == 0 {
		s.limit = DefaultTurnLimit
	}
	if s.notify == nil {
		s.notify = func(context.Context, Interaction) {}
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.life, s.end = context.WithCancel(context.Background())
	if cfg.Relay != nil {
		s.bridge = newBridge(cfg.Relay, s)
	}
	return s, nil
}

// Close ends every subscription with [ErrClosed], cancels prompts that wait at the backend without
// streaming, abandoned ones included, drops held events, no longer uses the relay and returns when the
// background work has ended.
// Streaming turns end with their callers. It is idempotent and always returns nil.
func (s *Service) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.hub.close()
	if s.bridge != nil {
		s.bridge.close()
	}
	s.background.Wait()
	return nil
}
