package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"dixie/finn"
	"dixie/spansanitizer"
)

// TurnRequest is one prompt.
type TurnRequest struct {
	// Owner must own the session, or becomes the owner of the new one.
	Owner string
	// SessionID is empty for a new session.
	SessionID string
	// Prompt must be valid UTF-8 and not blank ([finn.ErrRefused]).
	Prompt string
	// MessageID names the turn in [Interaction].
	MessageID string
	// Model and Pool are what [ModelSelection] says. Model may be empty.
	Model, Pool string
}

// Reply is the answer to one prompt.
type Reply struct {
	SessionID string
	Response  string
	ToolCalls []finn.ToolCall
}

// Turn takes a prompt and returns when it has been answered. Without a session id it begins a session,
// which is the caller's from then on, also when the turn fails. Turns of one session are taken one after
// the other; waiting counts for the time limit.
//
// With emit, the turn's events go to it as they come, and a failure of emit aborts the turn; it is called
// on this goroutine and holds up the turn, but no other reader for longer than that. Without emit, they
// are for the session's subscriptions, or held for the next one. A turn is streamed when somebody watches;
// otherwise Finn is asked for the whole answer, which saves a socket, and the events are made of it.
//
// When ctx ends, the turn is aborted; an answer that Finn cannot be kept from finishing is thrown away,
// and the session stays occupied until then. A turn that fails before its first event leaves no trace
// among the events: its caller has the error. One that fails later ends with a [Failure].
//
// It fails with [ErrSessionNotFound], [ErrBusy], [ErrStoreUnavailable], [ErrClosed], the sentinels of
// package finn, the error of emit and the cause of ctx.
func (s *Service) Turn(ctx context.Context, req TurnRequest, emit func(Event) error) (Reply, error) {
	if strings.TrimSpace(req.Prompt) == "" || !utf8.ValidString(req.Prompt) {
		return Reply{}, &finn.Error{Kind: finn.ErrRefused, Code: finn.CodeInvalidText}
	}
	if s.life.Err() != nil {
		return Reply{}, ErrClosed
	}
	deadline := time.Now().Add(s.limit)
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	sessionID, err := s.begin(limited, req)
	if err != nil {
		return Reply{}, err
	}
	release, err := s.locks.Acquire(limited, sessionID)
	if err != nil {
		return Reply{}, fmt.Errorf("chat: wait for the session: %w", err)
	}
	s.hub.catchUp(time.Now())
	if s.bridge != nil {
		// Nobody elsewhere can watch a session that has just begun.
		over := s.bridge.turn(limited, sessionID, req.SessionID != "")
		defer over()
	}
	out := &outlet{hub: s.hub, sessionID: sessionID, emit: emit, first: ModelSelection{
		Model: req.Model, Pool: req.Pool, Reason: ReasonTier,
	}}

	var answer finn.Turn
	if emit != nil || s.hub.hasReaders(sessionID) {
		defer release()
		var calls openCalls
		answer, err = s.finn.Stream(limited, sessionID, req.Prompt, func(e finn.Event) error {
			return out.relay(e, &calls)
		})
	} else {
		var handedOver bool
		answer, handedOver, err = s.send(ctx, deadline, sessionID, req.Prompt, release)
		if !handedOver {
			defer release()
		}
		if err == nil {
			// Nobody can fail here: without emit there is only the hub.
			err = out.replay(answer)
		}
	}
	if err != nil {
		out.fail(err)
		return Reply{}, fmt.Errorf("chat: turn: %w", err)
	}
	err = out.publish(Done{Content: answer.Response})
	s.answered(limited, req, sessionID)
	if err != nil {
		return Reply{}, fmt.Errorf("chat: turn: %w", err)
	}
	return Reply{SessionID: sessionID, Response: answer.Response, ToolCalls: answer.ToolCalls}, nil
}

// begin returns the id of the session that the prompt goes to. Ownership is settled before Finn hears of
// anything: Finn has no owners, and makes a session of any id that it does not know.
func (s *Service) begin(ctx context.Context, req TurnRequest) (string, error) {
	if req.SessionID != "" {
		session, err := s.owned(ctx, req.Owner, req.SessionID)
		return session.ID, err
	}
	if req.Owner == "" {
		return "", ErrSessionNotFound
	}
	created, err := s.finn.CreateSession(ctx, finn.SessionOptions{})
	if err != nil {
		return "", fmt.Errorf("chat: begin session: %w", err)
	}
	now := time.Now()
	err = s.sessions.Create(ctx, Session{
		ID: created.ID, Owner: req.Owner, FirstMessage: firstMessage(req.Prompt), CreatedAt: now, LastActivity: now,
	})
	if err != nil {
		return "", storeError(err)
	}
	return created.ID, nil
}

// send asks Finn for a whole answer. Finn cannot be told to stop such a turn, and refuses the next prompt
// of the session until it is done: when the caller goes away, the request goes on in the background with
// the lock, and handedOver says that release is no longer the caller's to call.
//
//nolint:contextcheck // The request to Finn lives as long as the service may.
func (s *Service) send(ctx context.Context, deadline time.Time, sessionID, prompt string, release func()) (
	answer finn.Turn, handedOver bool, err error,
) {
	type outcome struct {
		turn finn.Turn
		err  error
	}
	done, abandoned := make(chan outcome), make(chan struct{})
	detached, cancel := context.WithDeadline(lifelong{s.life, ctx}, deadline)
	started := s.spawn(func() {
		defer cancel()
		turn, err := s.finn.Send(detached, sessionID, prompt)
		select {
		case done <- outcome{turn, err}:
		case <-abandoned:
			release()
		}
	})
	if !started {
		cancel()
		return finn.Turn{}, false, ErrClosed
	}
	select {
	case o := <-done:
		if o.err != nil && s.life.Err() != nil {
			o.err = fmt.Errorf("%w: %w", ErrClosed, o.err)
		}
		return o.turn, false, o.err
	case <-ctx.Done():
		close(abandoned)
		return finn.Turn{}, true, context.Cause(ctx)
	}
}

// lifelong is a context that ends with the service, and has the values of a request, which may end before.
type lifelong struct {
	context.Context //nolint:containedctx // It is a context.

	request context.Context //nolint:containedctx // As above.
}

// Value implements [context.Context].
func (c lifelong) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.request.Value(key)
}

// answered books a turn that was answered. It must not fail the turn: the client has its answer.
func (s *Service) answered(ctx context.Context, req TurnRequest, sessionID string) {
	at := time.Now()
	booking, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeepingLimit)
	defer cancel()
	err := s.sessions.Touch(booking, sessionID, at)
	// A session that was evicted meanwhile is nothing to complain about.
	if err != nil && !errors.Is(err, ErrSessionNotFound) {
		s.logger.WarnContext(ctx, "chat turn not booked", "error", spansanitizer.TextOf(err))
	}
	wallet, isWallet := strings.CutPrefix(req.Owner, walletOwner)
	if !isWallet {
		wallet = ""
	}
	s.tell(ctx, Interaction{Wallet: wallet, SessionID: sessionID, MessageID: req.MessageID, At: at})
}

// tell survives what it calls. The value of a panic may hold anything, so it is not told.
func (s *Service) tell(ctx context.Context, i Interaction) {
	defer func() {
		if recover() != nil {
			s.logger.ErrorContext(ctx, "chat_interaction_hook_panicked")
		}
	}()
	s.notify(ctx, i)
}

// outlet turns what Finn says into events and hands them out. It belongs to one turn's goroutine.
type outlet struct {
	hub       *hub
	sessionID string
	// emit is nil when there is none, or it has failed.
	emit  func(Event) error
	first ModelSelection
	begun bool
	// lost says that emit has failed: the client went away.
	lost bool
}

// relay passes on an event of a streamed turn.
func (o *outlet) relay(e finn.Event, calls *openCalls) error {
	switch e.Kind {
	case finn.TextDelta:
		return o.publish(Chunk{Content: e.Text})
	case finn.ToolStart:
		return o.publish(calls.start(e))
	case finn.ToolEnd:
		return o.publish(calls.end(e))
	default:
		return nil
	}
}

// replay makes the events of an answer that came whole.
func (o *outlet) replay(answer finn.Turn) error {
	for _, tool := range answer.ToolCalls {
		call := ToolCall{Name: tool.Name, Args: argsText(tool.Args), Status: ToolRunning}
		if err := errors.Join(o.publish(call), o.publish(call.done(tool.Result))); err != nil {
			return err
		}
	}
	if answer.Response == "" {
		return nil
	}
	return o.publish(Chunk{Content: answer.Response})
}

// publish hands out an event, behind the model selection if it is the first.
func (o *outlet) publish(p Payload) error {
	if !o.begun {
		o.begun = true
		// What follows is for the hub when the reader is lost over this.
		return errors.Join(o.put(o.first), o.put(p))
	}
	return o.put(p)
}

// put gives an event to the turn's own reader and then to the hub, which holds for others what that
// reader did not get.
func (o *outlet) put(p Payload) error {
	e := Event{ID: o.hub.next(), SessionID: o.sessionID, Payload: p}
	var err error
	taken := false
	if o.emit != nil {
		err = o.emit(e)
		taken = err == nil
	}
	if err != nil {
		o.emit, o.lost = nil, true
	}
	o.hub.publish(e, taken)
	return err
}

// fail ends a turn that has begun.
func (o *outlet) fail(err error) {
	if o.lost {
		err = context.Canceled
	}
	if o.begun {
		_ = o.put(Failure{Message: failureText(err)}) // The turn has failed already.
	}
}
