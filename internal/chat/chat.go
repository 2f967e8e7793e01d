// Package chat runs the turns of chat sessions: who owns a session, one turn at a time in each, and the
// events of a turn for whoever listens. A [Service] is safe for concurrent use and owns neither the
// client nor the stores it is given.
package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"dixie/finn"
)

// Errors of the service. Errors of Finn pass through, wrapped.
var (
	// ErrSessionNotFound says that there is no such session, or that it belongs to somebody else.
	ErrSessionNotFound = errors.New("chat: session not found")
	// ErrBusy says that the time for a turn was over before the session was free.
	ErrBusy = errors.New("chat: session busy")
	// ErrStoreUnavailable says that the session store does not answer.
	ErrStoreUnavailable = errors.New("chat: session store unavailable")
)

// TurnLimit bounds a turn, waiting for its session included.
const TurnLimit = 120 * time.Second

const (
	firstMessageRunes = 200
	sessionsListed    = 100
	maxRunningTools   = 100
)

// Finn is what the service needs of the backend.
type Finn interface {
	CreateSession(ctx context.Context, o finn.SessionOptions) (finn.Session, error)
	Send(ctx context.Context, sessionID, text string) (finn.Turn, error)
	Stream(ctx context.Context, sessionID, text string, each func(finn.Event) error) (finn.Turn, error)
	Session(ctx context.Context, id string) (finn.SessionState, error)
}

// Session is a session and its owner.
type Session struct {
	ID string
	// Owner is a wallet or an API key's hash, as auth.Identity.Owner names it.
	Owner string
	// FirstMessage is the beginning of the first prompt, at most 200 characters.
	FirstMessage string
	CreatedAt    time.Time
	LastActivity time.Time
}

// SessionStore remembers sessions. Implementations are safe for concurrent use.
type SessionStore interface {
	// Create adds a session with a new id.
	Create(ctx context.Context, s Session) error
	// Get fails with [ErrSessionNotFound].
	Get(ctx context.Context, id string) (Session, error)
	// Touch sets the last activity; an unknown id is no error.
	Touch(ctx context.Context, id string, at time.Time) error
	// List returns the owner's sessions, newest activity first, at most limit of them.
	List(ctx context.Context, owner string, limit int) ([]Session, error)
}

// TurnLock keeps the turns of a session in line.
type TurnLock interface {
	// Acquire waits until the session is free or ctx ends. The returned function must be called once.
	Acquire(ctx context.Context, sessionID string) (release func(), err error)
}

// Interaction is a turn that succeeded.
type Interaction struct {
	Owner     string
	SessionID string
	MessageID string
	At        time.Time
}

// Config is what a [Service] works with. Finn and Sessions are required.
type Config struct {
	Finn     Finn
	Sessions SessionStore
	// Lock is shared between replicas; nil keeps turns in line in this process.
	Lock TurnLock
	// Logger may be nil.
	Logger *slog.Logger
	// OnInteraction is called after each turn that succeeded and must not block; nil is nobody.
	OnInteraction func(Interaction)
}

// Service runs turns. Make one with [New].
type Service struct {
	cfg Config
	hub *hub
}

// New makes a service.
func New(cfg Config) *Service {
	if cfg.Lock == nil {
		cfg.Lock = newMemoryLock()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnInteraction == nil {
		cfg.OnInteraction = func(Interaction) {}
	}
	return &Service{cfg: cfg, hub: newHub()}
}

// Close ends every subscription.
func (s *Service) Close(context.Context) error {
	s.hub.close()
	return nil
}

// TurnRequest is a prompt.
type TurnRequest struct {
	Owner string
	// SessionID is empty for a new session.
	SessionID string
	// Prompt goes to Finn as it is.
	Prompt string
	// MessageID names the turn.
	MessageID string
	// ModelPool is shown to the client before the first chunk.
	ModelPool string
}

// Reply is a whole answer.
type Reply struct {
	SessionID string
	Response  string
	ToolCalls []finn.ToolCall
}

// Turn runs a turn. With emit the events go there as they come, and its error ends the turn; without it,
// and with nobody listening to the session, Finn is asked for the whole answer, and the events are kept
// for who attaches next. A session that is not the owner's is [ErrSessionNotFound] before Finn hears of
// it. When ctx ends, so does the turn, at Finn too.
func (s *Service) Turn(ctx context.Context, t TurnRequest, emit func(Event) error) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, TurnLimit)
	defer cancel()
	if t.SessionID != "" {
		if _, err := s.owned(ctx, t.Owner, t.SessionID); err != nil {
			return Reply{}, err
		}
	} else {
		id, err := s.open(ctx, t)
		if err != nil {
			return Reply{}, err
		}
		t.SessionID = id
	}
	release, err := s.cfg.Lock.Acquire(ctx, t.SessionID)
	if err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %w", ErrBusy, err)
		}
		return Reply{}, err
	}
	defer release()

	turn, err := s.run(ctx, t, emit)
	if err != nil {
		return Reply{}, err
	}
	now := time.Now()
	if err := s.cfg.Sessions.Touch(context.WithoutCancel(ctx), t.SessionID, now); err != nil {
		// The answer is there; only the order of a list is off.
		s.cfg.Logger.WarnContext(ctx, "session not touched", "error", err.Error())
	}
	s.cfg.OnInteraction(Interaction{Owner: t.Owner, SessionID: t.SessionID, MessageID: t.MessageID, At: now})
	return Reply{SessionID: t.SessionID, Response: turn.Response, ToolCalls: turn.ToolCalls}, nil
}

func (s *Service) open(ctx context.Context, t TurnRequest) (string, error) {
	created, err := s.cfg.Finn.CreateSession(ctx, finn.SessionOptions{})
	if err != nil {
		return "", fmt.Errorf("chat: create session: %w", err)
	}
	now := time.Now()
	first := []rune(t.Prompt)
	err = s.cfg.Sessions.Create(ctx, Session{
		ID: created.ID, Owner: t.Owner, CreatedAt: now, LastActivity: now,
		FirstMessage: string(first[:min(len(first), firstMessageRunes)]),
	})
	if err != nil {
		return "", storeError(err)
	}
	return created.ID, nil
}

// owned returns the session if it is the owner's.
func (s *Service) owned(ctx context.Context, owner, id string) (Session, error) {
	session, err := s.cfg.Sessions.Get(ctx, id)
	if err != nil {
		return Session{}, storeError(err)
	}
	if owner == "" || session.Owner != owner {
		return Session{}, ErrSessionNotFound
	}
	return session, nil
}

func storeError(err error) error {
	if errors.Is(err, ErrSessionNotFound) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrStoreUnavailable, err)
}

// run asks Finn and hands the events on. What goes wrong on the way ends the events with an error.
func (s *Service) run(ctx context.Context, t TurnRequest, emit func(Event) error) (finn.Turn, error) {
	out := &output{hub: s.hub, session: t.SessionID, emit: emit}
	streamed := emit != nil || s.hub.listened(t.SessionID)
	var (
		turn finn.Turn
		err  error
	)
	if streamed {
		begun := false
		turn, err = s.cfg.Finn.Stream(ctx, t.SessionID, t.Prompt, func(e finn.Event) error {
			if !begun {
				begun = true
				if err := out.send(TypeModelSelection, selection(t)); err != nil {
					return err
				}
			}
			return out.event(e)
		})
	} else if turn, err = s.cfg.Finn.Send(ctx, t.SessionID, t.Prompt); err == nil {
		err = out.whole(t, turn)
	}
	if err != nil {
		out.fail()
		return finn.Turn{}, fmt.Errorf("chat: turn: %w", err)
	}
	if err := out.send(TypeDone, Done{Content: turn.Response}); err != nil {
		return finn.Turn{}, err
	}
	return turn, nil
}

func selection(t TurnRequest) ModelSelection {
	return ModelSelection{Model: "unknown", Pool: t.ModelPool, Reason: "tier_assignment"}
}

// output sends the events of one turn to the caller, or else to who listens or will.
type output struct {
	hub     *hub
	session string
	emit    func(Event) error
	begun   bool
	// running are the tool calls without a result; results carry no id and are matched by name.
	running []ToolCall
}

func (o *output) send(kind string, data any) error {
	o.begun = true
	e := o.hub.next(o.session, kind, data)
	if o.emit != nil {
		return o.emit(e)
	}
	o.hub.publish(o.session, e)
	return nil
}

func (o *output) event(e finn.Event) error {
	switch e.Kind {
	case finn.ToolStart:
		call := ToolCall{Name: e.Tool, Args: argsText(e.Args), Status: "running"}
		if len(o.running) < maxRunningTools {
			o.running = append(o.running, call)
		}
		return o.send(TypeToolCall, call)
	case finn.ToolEnd:
		call := ToolCall{Name: e.Tool, Args: "{}"}
		if i := slices.IndexFunc(o.running, func(c ToolCall) bool { return c.Name == e.Tool }); i >= 0 {
			call = o.running[i]
			o.running = slices.Delete(o.running, i, i+1)
		}
		call.Status, call.Result = "done", &e.Result
		return o.send(TypeToolCall, call)
	case finn.TextDelta:
		return o.send(TypeChunk, Chunk{Content: e.Text})
	}
	return nil
}

// whole makes the events of an answer that came at once.
func (o *output) whole(t TurnRequest, turn finn.Turn) error {
	err := o.send(TypeModelSelection, selection(t))
	for _, call := range turn.ToolCalls {
		args := argsText(call.Args)
		err = errors.Join(err,
			o.send(TypeToolCall, ToolCall{Name: call.Name, Args: args, Status: "running"}),
			o.send(TypeToolCall, ToolCall{Name: call.Name, Args: args, Status: "done", Result: &call.Result}))
	}
	if turn.Response != "" {
		err = errors.Join(err, o.send(TypeChunk, Chunk{Content: turn.Response}))
	}
	return err
}

// fail tells listeners of a turn that had begun, or that only they wait for, in our own words.
func (o *output) fail() {
	if o.begun || o.emit == nil {
		_ = o.send(TypeError, Failure{Message: "The turn failed"}) // The turn has failed already.
	}
}

func argsText(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "{}"
	}
	return string(raw)
}

// Sessions lists the owner's sessions, newest activity first, at most 100.
func (s *Service) Sessions(ctx context.Context, owner string) ([]Session, error) {
	list, err := s.cfg.Sessions.List(ctx, owner, sessionsListed)
	if err != nil {
		return nil, storeError(err)
	}
	return list, nil
}

// Detail is a session and its state at Finn.
type Detail struct {
	Session

	IsStreaming  bool
	MessageCount int
}

// Session shows one session of the owner. A session that has gone from Finn's memory still exists; its
// messages are not counted then.
func (s *Service) Session(ctx context.Context, owner, id string) (Detail, error) {
	session, err := s.owned(ctx, owner, id)
	if err != nil {
		return Detail{}, err
	}
	state, err := s.cfg.Finn.Session(ctx, id)
	if err != nil && !errors.Is(err, finn.ErrSessionNotFound) {
		return Detail{}, fmt.Errorf("chat: session state: %w", err)
	}
	return Detail{Session: session, IsStreaming: state.IsStreaming, MessageCount: state.MessageCount}, nil
}

// Attach listens to a session of the owner: first to what was kept of its last turn and nobody has
// taken, then to what comes.
func (s *Service) Attach(ctx context.Context, owner, id string) (*Subscription, error) {
	if _, err := s.owned(ctx, owner, id); err != nil {
		return nil, err
	}
	return s.hub.attach(id), nil
}
