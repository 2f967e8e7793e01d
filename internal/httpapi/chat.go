package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"dixie/finn"
	"dixie/internal/auth"
	"dixie/internal/chat"
)

const (
	longestPrompt = 10_000
	// heartbeat keeps proxies from cutting a stream in which a model thinks.
	heartbeat = 15 * time.Second
)

type chatRequest struct {
	Prompt    string  `json:"prompt"`
	SessionID *string `json:"sessionId"`
}

type chatAnswer struct {
	SessionID string     `json:"sessionId"`
	MessageID string     `json:"messageId"`
	Response  string     `json:"response"`
	ToolCalls []toolCall `json:"toolCalls"`
}

type toolCall struct {
	Name   string          `json:"name"`
	Args   json.RawMessage `json:"args,omitempty"`
	Result string          `json:"result"`
}

// postChat runs a turn. The answer is JSON, or with Accept: text/event-stream the events as they come.
func (a *API) postChat(w http.ResponseWriter, r *http.Request) error {
	owner, err := callerOwner(r)
	if err != nil {
		return err
	}
	var body chatRequest
	if err := decodeJSON(r, &body); err != nil {
		return err
	}
	x := exchangeFrom(r.Context())
	turn := chat.TurnRequest{
		Owner: owner, Prompt: body.Prompt, MessageID: x.requestID, Pool: x.tier.Tier.ModelPool(),
	}
	switch {
	case !hasText(body.Prompt) || utf8.RuneCountInString(body.Prompt) > longestPrompt:
		return invalid("prompt must have 1 to %d characters, not all of them white space", longestPrompt)
	case body.SessionID != nil && !finn.ValidSessionID(*body.SessionID):
		return invalid("sessionId must have 1 to 128 characters of A-Z a-z 0-9 _ -")
	case body.SessionID != nil:
		turn.SessionID = *body.SessionID
	}
	ctx, cancel := a.streamContext(finn.ContextWithCaller(r.Context(), a.finnCaller(x)))
	defer cancel()
	if acceptsEvents(r) {
		return a.streamChat(ctx, w, turn)
	}
	reply, err := a.cfg.Chat.Turn(ctx, turn, nil)
	if err != nil {
		return shutdownOr(ctx, err)
	}
	answer := chatAnswer{
		SessionID: reply.SessionID, MessageID: x.requestID, Response: reply.Response, ToolCalls: []toolCall{},
	}
	for _, t := range reply.ToolCalls {
		answer.ToolCalls = append(answer.ToolCalls, toolCall{t.Name, t.Args, t.Result})
	}
	return a.writeJSON(w, http.StatusOK, answer)
}

func (a *API) finnCaller(x *exchange) finn.Caller {
	return finn.Caller{RequestID: x.requestID, Wallet: x.identity.Wallet, Address: x.address()}
}

// shutdownOr blames a shutdown that cut the turn, else passes err on.
func shutdownOr(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errShuttingDown) {
		return errShuttingDown.because(err)
	}
	return err
}

// acceptsEvents says whether the client asked for server-sent events by name.
func acceptsEvents(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			mediaType, parameters, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream") {
				return !isRefused(parameters)
			}
		}
	}
	return false
}

// isRefused says whether the parameters of a media range give it no weight (RFC 9110, section 12.4.2).
func isRefused(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if strings.EqualFold(name, "q") {
			weight, err := strconv.ParseFloat(value, 64)
			return err == nil && weight == 0
		}
	}
	return false
}

// streamChat writes the turn's events as server-sent events (HTML standard, section 9.2). The header
// goes out with the first event, so that what fails before it is an ordinary error.
func (a *API) streamChat(ctx context.Context, w http.ResponseWriter, turn chat.TurnRequest) error {
	a.cfg.Metrics.StreamOpened(ctx)
	defer a.cfg.Metrics.StreamClosed(ctx)
	s := &eventStream{w: w, control: http.NewResponseController(w), held: func() {
		if a.holding.CompareAndSwap(false, true) {
			a.cfg.Logger.WarnContext(ctx, "streams are held back: a ResponseWriter around dixie cannot flush and has no Unwrap; said once")
		}
	}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var beat sync.WaitGroup
	beat.Go(func() { s.beat(ctx) })
	_, err := a.cfg.Chat.Turn(ctx, turn, s.send)
	cancel()
	beat.Wait()
	if err == nil || !s.begun {
		if err != nil {
			return shutdownOr(ctx, err)
		}
		return nil
	}
	return fmt.Errorf("stream ended early: %w", err)
}

// eventStream writes events and heartbeats, one at a time.
type eventStream struct {
	control *http.ResponseController
	// held is told when a piece could not be sent at once.
	held func()

	mu    sync.Mutex
	w     http.ResponseWriter // GUARDED_BY(mu)
	begun bool                // GUARDED_BY(mu)
	buf   bytes.Buffer        // GUARDED_BY(mu)
}

func (s *eventStream) send(e chat.Event) error {
	data, err := json.Marshal(e.Payload)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.Payload.Type(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h["Content-Type"] = []string{"text/event-stream"}
		h["Cache-Control"] = []string{"no-store"}
		h["X-Accel-Buffering"] = []string{"no"}
		s.w.WriteHeader(http.StatusOK)
	}
	s.buf.Reset()
	s.buf.WriteString("id: ")
	s.buf.WriteString(strconv.FormatUint(e.ID, 10))
	s.buf.WriteString("\nevent: ")
	s.buf.WriteString(e.Payload.Type())
	s.buf.WriteString("\ndata: ")
	s.buf.Write(data)
	s.buf.WriteString("\n\n")
	return s.flush(s.buf.Bytes())
}

// flush writes under the caller's lock.
func (s *eventStream) flush(p []byte) error {
	if _, err := s.w.Write(p); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	switch err := s.control.Flush(); {
	case errors.Is(err, http.ErrNotSupported):
		s.held() // The client gets all of it in the end.
	case err != nil:
		return fmt.Errorf("flush event: %w", err)
	}
	return nil
}

func (s *eventStream) beat(ctx context.Context) {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.mu.Lock()
			if s.begun {
				_ = s.flush([]byte(": heartbeat\n\n")) // A client that is gone ends the turn by its context.
			}
			s.mu.Unlock()
		}
	}
}

type sessionSummary struct {
	ID           string    `json:"id"`
	FirstMessage string    `json:"firstMessage"`
	CreatedAt    timestamp `json:"createdAt"`
	LastActivity timestamp `json:"lastActivity"`
}

func (a *API) getSessions(w http.ResponseWriter, r *http.Request) error {
	owner, err := callerOwner(r)
	if err != nil {
		return err
	}
	sessions, err := a.cfg.Chat.Sessions(r.Context(), owner)
	if err != nil {
		return err
	}
	list := make([]sessionSummary, 0, len(sessions))
	for _, s := range sessions {
		list = append(list, sessionSummary{s.ID, s.FirstMessage, timestamp(s.CreatedAt), timestamp(s.LastActivity)})
	}
	return a.writeJSON(w, http.StatusOK, list)
}

func (a *API) getSession(w http.ResponseWriter, r *http.Request) error {
	owner, err := callerOwner(r)
	if err != nil {
		return err
	}
	id, err := pathID(r, "sessionId")
	if err != nil {
		return err
	}
	d, err := a.cfg.Chat.Session(finn.ContextWithCaller(r.Context(), a.finnCaller(exchangeFrom(r.Context()))), owner, id)
	if err != nil {
		return err
	}
	return a.writeJSON(w, http.StatusOK, struct {
		ID           string    `json:"id"`
		IsStreaming  bool      `json:"isStreaming"`
		MessageCount int       `json:"messageCount"`
		CreatedAt    timestamp `json:"createdAt"`
		LastActivity timestamp `json:"lastActivity"`
	}{d.ID, d.IsStreaming, d.MessageCount, timestamp(d.CreatedAt), timestamp(d.LastActivity)})
}

func (a *API) postTicket(w http.ResponseWriter, r *http.Request) error {
	address, err := callerWallet(r)
	if err != nil {
		return err
	}
	ticket, err := a.cfg.Tickets.Issue(r.Context(), address)
	if err != nil {
		return err
	}
	noStore(w)
	return a.writeJSON(w, http.StatusOK, struct {
		Ticket    string `json:"ticket"`
		ExpiresIn int    `json:"expires_in"`
	}{ticket, int(auth.TicketTTL / time.Second)})
}
