package localfinn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"dixie/finn"
	"dixie/spansanitizer"
)

const (
	// MaxAnswer is how much text one turn may produce, in bytes.
	MaxAnswer = 1 << 20

	maxTurnTools = 1000
)

var (
	errBusy    = errors.New("localfinn: the session has a turn running")
	errClosing = errors.New("localfinn: closed")
	errModel   = errors.New("localfinn: the model failed")
	errTooMuch = errors.New("localfinn: the answer is too large")
	errTooLong = errors.New("localfinn: the turn took too long")
)

// running is a turn that has its session. It must be run.
type running struct {
	server  *Server
	request Turn
	ctx     context.Context //nolint:containedctx // Ends with the turn.
	cancel  context.CancelFunc
	unwatch func() bool
	log     turnLog
}

// turnLog is a turn as it happens: what its HTTP caller gets in the end.
type turnLog struct {
	session  *session
	cancel   context.CancelFunc
	response strings.Builder
	calls    []finn.ToolCall
	ended    []bool
	tools    bool // A tool has run since the last turn_end.
	err      error
}

// start takes the session for a turn. It is apart from run so that an abort
// that follows a prompt on a socket finds the turn under way.
func (s *Server) start(ctx context.Context, sess *session, prompt string) (*running, error) {
	if !s.enter(&s.turns) {
		return nil, errClosing
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, errTooLong)
	request, err := sess.begin(prompt, cancel, time.Now())
	if err != nil {
		cancel()
		s.turns.Done()
		return nil, err
	}
	return &running{
		server: s, request: request, ctx: ctx, cancel: cancel,
		unwatch: context.AfterFunc(s.life, cancel), //nolint:contextcheck // Closing the server aborts turns.
		log:     turnLog{session: sess, cancel: cancel},
	}, nil
}

// run answers, telling the session's sockets. An aborted turn ends with what it
// had said so far, one that took too long as if the model had failed.
func (r *running) run() (finn.Turn, error) {
	defer r.server.turns.Done()
	defer r.cancel()
	defer r.unwatch()
	err := r.respond()
	switch {
	case r.log.err != nil:
		err = r.log.err
	case errors.Is(context.Cause(r.ctx), errTooLong):
		err = errTooLong
	case r.ctx.Err() != nil:
		err = nil
	}
	if err != nil {
		r.server.logger.ErrorContext(r.ctx, "local_finn_model_failed", "error", spansanitizer.TextOf(err))
	}
	r.log.finish(err)
	if err != nil {
		return finn.Turn{}, errModel
	}
	return finn.Turn{Response: r.log.response.String(), ToolCalls: r.log.calls}, nil
}

// respond keeps a panic of a responder from ending the process: turns of
// sockets run on goroutines of their own.
func (r *running) respond() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("localfinn: responder panicked (%T)", v)
		}
	}()
	return r.server.responder.Respond(r.ctx, r.request, r.log.emit)
}

func (l *turnLog) emit(e finn.Event) {
	if l.err != nil {
		return
	}
	if !l.fits(e) {
		l.err = errTooMuch
		l.cancel()
		return
	}
	l.session.emitting.Lock()
	defer l.session.emitting.Unlock()
	switch e.Kind {
	case finn.TextDelta:
		if e.Text == "" {
			return
		}
		if l.tools { // The model's turn with the tools is over; it goes on in a new one.
			l.tools = false
			l.session.broadcast(turnEndFrame())
		}
		l.response.WriteString(e.Text)
		l.session.broadcast(frame("text_delta", map[string]any{"delta": e.Text}))
	case finn.ToolStart:
		l.calls = append(l.calls, finn.ToolCall{Name: e.Tool, Args: e.Args})
		l.ended = append(l.ended, false)
		args := e.Args
		if len(args) == 0 {
			args = json.RawMessage("{}")
		}
		l.session.broadcast(frame("tool_start", map[string]any{"toolName": e.Tool, "args": args}))
	case finn.ToolEnd:
		l.tools = true
		l.toolEnd(e)
		l.session.broadcast(frame("tool_end", map[string]any{
			"toolName": e.Tool, "result": e.Result, "isError": e.IsError,
		}))
	}
}

// fits tells whether the turn may still say e. The end of a call always may.
func (l *turnLog) fits(e finn.Event) bool {
	switch {
	case e.Kind == finn.TextDelta:
		return l.response.Len()+len(e.Text) <= MaxAnswer
	case e.Kind == finn.ToolEnd && l.oldestOpen(e.Tool) >= 0:
		return true
	default:
		return len(l.calls) < maxTurnTools
	}
}

// oldestOpen returns the index of the oldest call of that name that has not
// ended, or -1.
func (l *turnLog) oldestOpen(name string) int {
	for i := range l.calls {
		if !l.ended[i] && l.calls[i].Name == name {
			return i
		}
	}
	return -1
}

// toolEnd gives the result to the oldest call of that name without one.
func (l *turnLog) toolEnd(e finn.Event) {
	if i := l.oldestOpen(e.Tool); i >= 0 {
		l.calls[i].Result, l.calls[i].IsError, l.ended[i] = e.Result, e.IsError, true
		return
	}
	l.calls = append(l.calls, finn.ToolCall{Name: e.Tool, Result: e.Result, IsError: e.IsError})
	l.ended = append(l.ended, true)
}

// finish frees the session and then tells the end, so that whoever hears it
// may prompt at once; holding emitting keeps the next turn's events behind it.
func (l *turnLog) finish(err error) {
	l.session.emitting.Lock()
	defer l.session.emitting.Unlock()
	l.session.end(l.response.String(), time.Now())
	frames := [][]byte{turnEndFrame(), frame("agent_end", map[string]any{})}
	if err != nil {
		frames = append([][]byte{errorFrame("The model failed", true)}, frames...)
	}
	// At once: a socket that comes for the next turn must not hear the rest of this one.
	l.session.broadcast(frames...)
}
