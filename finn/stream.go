package finn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// maxToolCalls bounds the tool calls of one streamed turn.
const maxToolCalls = 1000

// errIdle is the cause of a turn's context that ended for Finn's silence.
var errIdle = errors.New("finn: no event within the idle limit")

// consumerError is the failure of the caller's event function.
type consumerError struct{ err error }

func (e *consumerError) Error() string { return e.err.Error() }

// Stream runs a turn over a WebSocket and calls each with its events, in
// order, on the calling goroutine; each may be nil. It returns when the turn
// has ended. text follows the rules of [Client.Send]. The turn time limit
// bounds the whole, the control time limit its opening, and the idle limit the
// time that Finn is silent.
//
// When ctx ends, a limit runs out or each returns an error, the turn is aborted
// at Finn: Stream then waits up to one second for its end, so that the session
// is free for the next prompt, and returns the reason. The Turn returned with
// an error holds what had arrived.
func (c *Client) Stream(ctx context.Context, sessionID, text string, each func(Event) error) (turn Turn, err error) {
	if err := checkSessionID(sessionID); err != nil {
		return Turn{}, err
	}
	prompt, err := textBody(struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}{"prompt", text}, text)
	if err != nil {
		return Turn{}, err
	}
	ctx, inference := c.infer(ctx)
	defer inference.span.End()
	defer func() { inference.report(err) }()
	permit, err := c.admit(ctx, OperationStream)
	if err != nil {
		return Turn{}, err
	}
	defer permit.settle(excluded) // Only a panic gets here unsettled.

	limited, stop := context.WithTimeoutCause(ctx, c.turn, errTimeLimit)
	defer stop()
	limited, cancel := context.WithCancelCause(limited)
	defer cancel(nil)
	if each == nil {
		each = func(Event) error { return nil }
	}
	s := &stream{
		client: c, permit: permit, caller: ctx, ctx: limited, cancel: cancel,
		each: each, lastSign: time.Now(),
	}
	o, err := s.run(sessionID, prompt) //nolint:contextcheck // The stream carries the call's contexts.
	permit.settle(o)
	turn = Turn{Response: s.response.String(), ToolCalls: s.tools.calls}
	if err == nil {
		err = turn.check()
	}
	return turn, err
}

// stream is one turn under way. Its fields belong to the goroutine of Stream;
// the contexts live as long as the call that made them.
type stream struct {
	client *Client
	permit *permit
	caller context.Context //nolint:containedctx // The stream does not outlive the call.
	ctx    context.Context //nolint:containedctx // The stream does not outlive the call.
	cancel context.CancelCauseFunc
	each   func(Event) error
	conn   *socket
	idle   *time.Timer

	tools    toolLog
	response strings.Builder
	size     int
	// lastSign is when Finn last spoke, or was last able to.
	lastSign time.Time
	// cut is set once the turn's context has ended; silent is how long Finn
	// had said nothing then.
	cut    bool
	silent time.Duration
}

func (s *stream) run(sessionID string, prompt []byte) (outcome, error) {
	o, err := s.open(sessionID)
	if err != nil {
		return o, err
	}
	defer s.conn.release()
	if o, err := s.barrier(); err != nil {
		return o, err
	}
	if err := s.conn.write(s.ctx, prompt); err != nil {
		return s.ended(err)
	}
	s.lastSign = time.Now()
	s.idle = time.AfterFunc(s.client.idle, func() { s.cancel(errIdle) })
	defer s.idle.Stop()
	for {
		f, err := s.next()
		if err != nil {
			return s.ended(err)
		}
		if s.cut {
			// What comes now is the rest of an aborted turn.
			if f.signal == signalEnd || f.signal == signalFatal {
				s.conn.drained()
				return s.ended(nil)
			}
			continue
		}
		if f.signal == signalPong {
			continue
		}
		o, end, err := s.handle(f)
		if end {
			return o, err
		}
	}
}

// handle takes a frame of the running turn. end tells that it was the last.
func (s *stream) handle(f frame) (o outcome, end bool, err error) {
	s.idle.Stop()
	s.permit.proved()
	s.client.noteAnswer(s.caller, socketRoute)
	switch f.signal {
	case signalEnd:
		return succeeded, true, nil
	case signalBlocked:
		return succeeded, true, &Error{Kind: ErrBudgetExceeded, Code: CodeBillingBlock}
	case signalError:
		return succeeded, true, &Error{Kind: ErrTurnFailed, Code: CodeTurnError}
	case signalFatal:
		o, err := s.closing()
		return o, true, err
	case signalEvent:
		if err := s.take(f.event); err != nil {
			s.cancel(err)
		}
	case signalLife, signalPong:
	}
	s.lastSign = time.Now()
	s.idle.Reset(s.client.idle)
	return excluded, false, nil
}

// take books an event and hands it on.
func (s *stream) take(e Event) error {
	tooLarge := &Error{Kind: ErrUpstream, Code: CodeTooLarge}
	s.size += len(e.Text) + len(e.Tool) + len(e.Args) + len(e.Result)
	if s.size > maxAnswer {
		return tooLarge
	}
	switch e.Kind {
	case TextDelta:
		s.response.WriteString(e.Text)
		if e.Text == "" {
			return nil
		}
	case ToolStart, ToolEnd:
		if !s.tools.add(e) {
			return tooLarge
		}
	}
	if err := s.each(e); err != nil {
		return &consumerError{err}
	}
	return nil
}

// next reads a frame and notes whether the turn was cut before it came.
func (s *stream) next() (frame, error) {
	s.checkCut()
	f, err := s.conn.read()
	s.checkCut()
	if errors.Is(err, errFrame) && !s.cut {
		malformed := &Error{Kind: ErrUpstream, Code: CodeMalformed}
		s.cancel(malformed)
		s.checkCut()
		err = nil
	}
	return f, err
}

func (s *stream) checkCut() {
	if !s.cut && s.ctx.Err() != nil {
		s.cut = true
		s.silent = time.Since(s.lastSign)
	}
}

// ended judges a turn that did not come to its end; err is of the socket.
func (s *stream) ended(err error) (outcome, error) {
	s.checkCut()
	if !s.cut {
		o, closed := closeError(err)
		if errors.Is(closed, ErrUnavailable) {
			s.client.noteSilence(s.caller, socketRoute, err)
		}
		return o, closed
	}
	var consumer *consumerError
	var own *Error
	cause := context.Cause(s.ctx)
	switch {
	case errors.As(cause, &consumer):
		return excluded, fmt.Errorf("finn: event function: %w", consumer.err)
	case errors.Is(cause, errIdle):
		s.client.noteSilence(s.caller, socketRoute, errNoAnswerInTime)
		return failed, &Error{Kind: ErrUnavailable, Code: CodeIdle, cause: context.DeadlineExceeded}
	case errors.As(cause, &own):
		if own.Code == CodeClosed {
			return excluded, own
		}
		return succeeded, own
	}
	// A silent Finn runs into a limit of the stream's own. A deadline of the
	// caller's that comes before says nothing.
	atLimit := silentFor(s.silent, min(s.client.control, s.client.turn))
	return s.client.broken(s.caller, s.ctx, socketRoute, atLimit, excluded, err)
}

// closing reads on after a fatal error to learn the close code.
func (s *stream) closing() (outcome, error) {
	timer := time.AfterFunc(abortGrace, func() { s.cancel(&Error{Kind: ErrUpstream, Code: CodeTurnError}) })
	defer timer.Stop()
	for {
		if _, err := s.next(); err != nil || s.cut {
			return s.ended(err)
		}
	}
}

// closeError judges a socket that Finn closed or that broke.
func closeError(err error) (outcome, error) {
	switch websocket.CloseStatus(err) {
	case 4001: // Token refused.
		return succeeded, &Error{Kind: ErrCredential, Code: CodeConnection}
	case 4004:
		return succeeded, &Error{Kind: ErrSessionNotFound, Code: "SESSION_NOT_FOUND"}
	case 4029: // Too many sockets of one address.
		return succeeded, &Error{Kind: ErrRateLimited, Code: CodeConnection, RetryAfter: defaultRetryAfter}
	case websocket.StatusMessageTooBig:
		return succeeded, &Error{Kind: ErrRefused, Code: CodeInvalidText}
	case websocket.StatusInternalError:
		return failed, &Error{Kind: ErrUpstream, Code: CodeConnection}
	default: // Finn has no other words, or none at all.
	}
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return succeeded, &Error{Kind: ErrUpstream, Code: CodeTooLarge}
	}
	return failed, &Error{Kind: ErrUnavailable, Code: CodeConnection, cause: err}
}
