package chat

import (
	"context"
	"encoding/json"
	"errors"

	"dixie/finn"
)

// Event is one step of a turn as clients see it, over a WebSocket and as a server-sent event alike. It
// is immutable.
type Event struct {
	// ID grows from event to event of a session, also past a restart of the process, and has gaps. It
	// stays below 2^53, so that JavaScript can hold it.
	ID uint64
	// SessionID is the session that it belongs to.
	SessionID string
	// Payload is one of the payload types of this package.
	Payload Payload
}

// Payload is what an [Event] says: a [ModelSelection], [Chunk], [ToolCall], [Done] or [Failure]. Its
// JSON encoding is the data that goes with its type on the wire.
type Payload interface {
	// Type is the name of the event on the wire.
	Type() string
	// size is about how many bytes the payload keeps alive.
	size() int
}

// ModelSelection says who answers. It comes before everything else of a turn.
type ModelSelection struct {
	// Model is empty when it is not known.
	Model  string `json:"model"`
	Pool   string `json:"pool"`
	Reason string `json:"reason"`
}

// ReasonTier is the [ModelSelection] reason: the pool follows from the caller's tier.
const ReasonTier = "tier_assignment"

// Chunk continues the answer's text.
type Chunk struct {
	Content string `json:"content"`
}

// ToolStatus is how far a tool call is.
type ToolStatus string

// The states of a tool call.
const (
	ToolRunning ToolStatus = "running"
	ToolDone    ToolStatus = "done"
)

// ToolCall tells of a tool that begins or has ended.
type ToolCall struct {
	Name string `json:"name"`
	// Args is the input as JSON text, the same in both states.
	Args   string     `json:"args"`
	Status ToolStatus `json:"status"`
	// Result is set when the call is done.
	Result string `json:"result,omitempty"`
}

// Done ends a turn that was answered. It carries the whole text, so that a client that lost a chunk ends
// up right.
type Done struct {
	Content string `json:"content"`
}

// Failure ends a turn that broke off after its first event. Message is ours, never the backend's.
type Failure struct {
	Message string `json:"message"`
}

// Type returns model_selection.
func (ModelSelection) Type() string { return "model_selection" }

// Type returns chunk.
func (Chunk) Type() string { return "chunk" }

// Type returns tool_call.
func (ToolCall) Type() string { return "tool_call" }

// Type returns done.
func (Done) Type() string { return "done" }

// Type returns error.
func (Failure) Type() string { return "error" }

func (p ModelSelection) size() int { return len(p.Model) + len(p.Pool) + len(p.Reason) }
func (p Chunk) size() int          { return len(p.Content) }
func (p ToolCall) size() int       { return len(p.Name) + len(p.Args) + len(p.Result) }
func (p Done) size() int           { return len(p.Content) }
func (p Failure) size() int        { return len(p.Message) }

// noArgs is what a call without arguments took.
const noArgs = "{}"

func argsText(args json.RawMessage) string {
	if len(args) == 0 {
		return noArgs
	}
	return string(args)
}

// openCalls remembers tool calls that have not ended. Finn sends no call ids: an end belongs to the
// oldest call of its name.
type openCalls []ToolCall

func (o *openCalls) start(e finn.Event) ToolCall {
	call := ToolCall{Name: e.Tool, Args: argsText(e.Args), Status: ToolRunning}
	*o = append(*o, call)
	return call
}

func (o *openCalls) end(e finn.Event) ToolCall {
	for i, call := range *o {
		if call.Name == e.Tool {
			*o = append((*o)[:i], (*o)[i+1:]...)
			return call.done(e.Result)
		}
	}
	return ToolCall{Name: e.Tool, Args: noArgs}.done(e.Result)
}

func (p ToolCall) done(result string) ToolCall {
	p.Status, p.Result = ToolDone, result
	return p
}

// failureText is what a client is told of a turn that broke off.
func failureText(err error) string {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, ErrClosed):
		return "The turn was cancelled"
	case errors.Is(err, finn.ErrBudgetExceeded):
		return "Usage limit reached"
	case errors.Is(err, finn.ErrRateLimited):
		return "Backend rate limit reached, try again later"
	case errors.Is(err, finn.ErrSessionNotFound):
		return "The conversation is not available any more"
	case errors.Is(err, context.DeadlineExceeded):
		return "The answer took too long"
	case errors.Is(err, finn.ErrUnavailable), errors.Is(err, finn.ErrCircuitOpen):
		return "Backend temporarily unavailable"
	default:
		return "The turn failed, try again"
	}
}
