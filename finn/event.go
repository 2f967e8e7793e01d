package finn

import (
	"encoding/json"
	"errors"
	"fmt"
)

// EventKind is the kind of an [Event].
type EventKind int

// The kinds of events that a turn consists of.
const (
	// TextDelta: Text continues the answer.
	TextDelta EventKind = iota + 1
	// ToolStart: Tool begins, with Args.
	ToolStart
	// ToolEnd: Tool ended, with Result and IsError. Finn sends no call ids:
	// it belongs to the oldest call of that name which has not ended.
	ToolEnd
)

// String returns text_delta, tool_start or tool_end.
func (k EventKind) String() string {
	switch k {
	case TextDelta:
		return "text_delta"
	case ToolStart:
		return "tool_start"
	case ToolEnd:
		return "tool_end"
	default:
		return fmt.Sprintf("EventKind(%d)", int(k))
	}
}

// Event is a part of a turn as it happens. It may be kept: nothing else refers
// to its Args.
type Event struct {
	Kind    EventKind
	Text    string
	Tool    string
	Args    json.RawMessage
	Result  string
	IsError bool
}

// errFrame tells of a frame that does not follow the protocol.
var errFrame = errors.New("finn: malformed frame")

type signal int

const (
	// signalEvent carries an Event.
	signalEvent signal = iota
	// signalLife is an event of the turn without content for the caller, such
	// as turn_end, or one of a type not known here.
	signalLife
	signalPong
	signalEnd
	signalBlocked
	signalError
	// signalFatal is an error after which Finn closes the socket.
	signalFatal
)

type frame struct {
	signal signal
	event  Event
}

// decodeFrame reads one text frame of Finn's, {"type", "data"?}.
func decodeFrame(text []byte) (frame, error) {
	var f struct {
		Type string `json:"type"`
		Data struct {
			Delta       string          `json:"delta"`
			ToolName    string          `json:"toolName"`
			Args        json.RawMessage `json:"args"`
			Result      json.RawMessage `json:"result"`
			IsError     bool            `json:"isError"`
			Recoverable bool            `json:"recoverable"`
		} `json:"data"`
	}
	err := json.Unmarshal(text, &f)
	var mismatch *json.UnmarshalTypeError
	if f.Type == "" || err != nil && !errors.As(err, &mismatch) {
		return frame{}, errFrame
	}
	d := &f.Data
	out := frame{signal: signalEvent}
	switch f.Type {
	case "text_delta":
		out.event = Event{Kind: TextDelta, Text: d.Delta}
	case "tool_start":
		out.event = Event{Kind: ToolStart, Tool: d.ToolName, Args: rawArgs(d.Args)}
	case "tool_end":
		out.event = Event{Kind: ToolEnd, Tool: d.ToolName, Result: textOf(d.Result), IsError: d.IsError}
	case "agent_end":
		return frame{signal: signalEnd}, nil
	case "pong":
		return frame{signal: signalPong}, nil
	case "billing_blocked":
		return frame{signal: signalBlocked}, nil
	case "error":
		if d.Recoverable {
			return frame{signal: signalError}, nil
		}
		return frame{signal: signalFatal}, nil
	default:
		// A later Finn may say more, with data of any shape.
		return frame{signal: signalLife}, nil
	}
	// From here on the data matters.
	if err != nil || out.event.Kind != TextDelta && d.ToolName == "" {
		return frame{}, errFrame
	}
	return out, nil
}

// toolLog collects the tool calls of a streamed turn. Finn sends no call ids:
// an end belongs to the oldest call of its name that has none yet.
type toolLog struct {
	calls []ToolCall
	open  []int // Indices of calls without an end, oldest first.
}

// add books a start or an end, unless it would make a call beyond
// maxToolCalls. The end of a call that is open always finds room.
func (l *toolLog) add(e Event) bool {
	if e.Kind == ToolEnd {
		for i, at := range l.open {
			if call := &l.calls[at]; call.Name == e.Tool {
				call.Result, call.IsError = e.Result, e.IsError
				l.open = append(l.open[:i], l.open[i+1:]...)
				return true
			}
		}
	}
	if len(l.calls) >= maxToolCalls {
		return false
	}
	if e.Kind == ToolStart {
		l.open = append(l.open, len(l.calls))
	}
	l.calls = append(l.calls, ToolCall{Name: e.Tool, Args: e.Args, Result: e.Result, IsError: e.IsError})
	return true
}
