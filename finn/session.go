package finn

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxFrame is the largest prompt, as the JSON that carries it, in bytes. Finn
// closes a socket that sends more.
const MaxFrame = 1 << 20

// SessionOptions shape a new session.
type SessionOptions struct {
	// TokenID is the NFT whose personality answers. Empty: none.
	TokenID string
}

// Session is a new conversation at Finn. Finn keeps no owner: whoever knows
// the id may use the session, so the caller must guard it.
type Session struct {
	ID      string
	Created time.Time
}

// SessionState is what Finn knows about a session.
type SessionState struct {
	ID           string
	IsStreaming  bool
	MessageCount int
}

// Turn is the answer to one prompt.
type Turn struct {
	Response  string
	ToolCalls []ToolCall
}

// ToolCall is one use of a tool within a turn.
type ToolCall struct {
	Name string
	// Args is the tool's input as JSON; nil when Finn sent none.
	Args   json.RawMessage
	Result string
	// IsError tells of a failed tool. Known in streamed turns only.
	IsError bool
}

// ValidSessionID reports whether id has the form of a session id: 1 to 128
// letters, digits, underscores and hyphens. No other text is ever put into a
// path: a socket path with a slash in the id crashes Finn.
func ValidSessionID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func checkSessionID(id string) error {
	if !ValidSessionID(id) {
		return &Error{Kind: ErrSessionNotFound, Code: CodeInvalidID}
	}
	return nil
}

// CreateSession starts a conversation, within the control time limit. A Finn
// that is full answers SESSION_CREATE_FAILED ([ErrUpstream]), which the
// breaker does not count.
func (c *Client) CreateSession(ctx context.Context, opts SessionOptions) (_ Session, err error) {
	request := struct {
		TokenID string `json:"token_id,omitempty"`
	}{opts.TokenID}
	body, err := json.Marshal(request)
	if err != nil {
		return Session{}, &Error{Kind: ErrRefused, cause: err}
	}
	var answer struct {
		SessionID string `json:"sessionId"`
		Created   string `json:"created"`
	}
	ctx, inference := c.infer(ctx)
	defer inference.span.End()
	defer func() { inference.report(err) }()
	err = c.counted(ctx, call{
		method: http.MethodPost, path: "/api/sessions", route: "/api/sessions", operation: OperationCreateSession,
		body: body, limit: c.control,
	}, &answer)
	if err != nil {
		return Session{}, err
	}
	if !ValidSessionID(answer.SessionID) {
		return Session{}, &Error{Kind: ErrUpstream, Code: CodeMalformed, Status: http.StatusCreated}
	}
	created, malformed := time.Parse(time.RFC3339, answer.Created)
	if malformed != nil {
		created = time.Now()
	}
	return Session{ID: answer.SessionID, Created: created}, nil
}

// Send runs a whole turn and waits for its end, within the turn time limit.
// text must not be blank, must be valid UTF-8, and at most [MaxFrame] bytes as
// JSON ([ErrRefused]). Finn runs one turn of a session at a time, and creates
// a session that it does not know: check ids before. A cancelled ctx ends the
// waiting; Finn may work on.
func (c *Client) Send(ctx context.Context, sessionID, text string) (_ Turn, err error) {
	if err := checkSessionID(sessionID); err != nil {
		return Turn{}, err
	}
	body, err := textBody(struct {
		Text string `json:"text"`
	}{text}, text)
	if err != nil {
		return Turn{}, err
	}
	var answer struct {
		Response  string `json:"response"`
		ToolCalls []struct {
			Name   string          `json:"name"`
			Args   json.RawMessage `json:"args"`
			Result json.RawMessage `json:"result"`
		} `json:"toolCalls"`
	}
	ctx, inference := c.infer(ctx)
	defer inference.span.End()
	defer func() { inference.report(err) }()
	err = c.counted(ctx, call{
		method: http.MethodPost,
		path:   "/api/sessions/" + url.PathEscape(sessionID) + "/message",
		route:  "/api/sessions/{id}/message", operation: OperationSend,
		body: body, limit: c.turn,
		// The caller's time may have run while the turn waited for its session,
		// and a whole answer is silent until it is there.
		patience: min(c.idle, c.turn),
	}, &answer)
	if err != nil {
		return Turn{}, err
	}
	turn := Turn{Response: answer.Response}
	for _, tool := range answer.ToolCalls {
		turn.ToolCalls = append(turn.ToolCalls, ToolCall{
			Name: tool.Name, Args: rawArgs(tool.Args), Result: textOf(tool.Result),
		})
	}
	err = turn.check()
	return turn, err
}

// check refuses an empty turn: that is how Finn reports that its provider
// failed.
func (t *Turn) check() error {
	if strings.TrimSpace(t.Response) == "" && len(t.ToolCalls) == 0 {
		return &Error{Kind: ErrTurnFailed, Code: CodeEmptyAnswer}
	}
	return nil
}

// Session returns the state of a session, within the control time limit. Finn
// answers [ErrSessionNotFound] also for a session that it holds on disk only.
// The agent's inner state, which Finn hands out here, is dropped.
func (c *Client) Session(ctx context.Context, id string) (_ SessionState, err error) {
	if err := checkSessionID(id); err != nil {
		return SessionState{}, err
	}
	var answer struct {
		ID           string `json:"id"`
		IsStreaming  bool   `json:"isStreaming"`
		MessageCount int    `json:"messageCount"`
	}
	ctx, inference := c.infer(ctx)
	defer inference.span.End()
	defer func() { inference.report(err) }()
	err = c.counted(ctx, call{
		method: http.MethodGet, path: "/api/sessions/" + url.PathEscape(id),
		route: "/api/sessions/{id}", operation: OperationSession, limit: c.control,
	}, &answer)
	if err != nil {
		return SessionState{}, err
	}
	if answer.ID != id || answer.MessageCount < 0 {
		return SessionState{}, &Error{Kind: ErrUpstream, Code: CodeMalformed, Status: http.StatusOK}
	}
	return SessionState{ID: id, IsStreaming: answer.IsStreaming, MessageCount: answer.MessageCount}, nil
}

// textBody marshals message, which carries text, and checks both.
func textBody(message any, text string) ([]byte, error) {
	if strings.TrimSpace(text) == "" || !utf8.ValidString(text) {
		return nil, &Error{Kind: ErrRefused, Code: CodeInvalidText}
	}
	body, err := json.Marshal(message)
	if err != nil || len(body) > MaxFrame {
		return nil, &Error{Kind: ErrRefused, Code: CodeInvalidText, cause: err}
	}
	return body, nil
}

// textOf returns the text of a JSON string, or other JSON as it stands.
func textOf(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return ""
	}
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func rawArgs(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil
	}
	return raw
}
