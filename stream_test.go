package dixie_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"dixie"
	"dixie/finn"
	"dixie/finn/localfinn"
)

// gated emits one word, waits to be told, and emits another.
type gated struct{ next chan struct{} }

func (g gated) Model() string { return "gated" }

func (g gated) Respond(ctx context.Context, _ localfinn.Turn, emit func(finn.Event)) error {
	emit(finn.Event{Kind: finn.TextDelta, Text: "one "})
	select {
	case <-g.next:
		emit(finn.Event{Kind: finn.TextDelta, Text: "two"})
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestEventsArriveAsTheyCome(t *testing.T) {
	t.Parallel()
	g := gated{make(chan struct{})}
	s := start(t, g)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/chat", strings.NewReader(`{"prompt":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token())
	request.Header.Set("Accept", "text/event-stream")
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var types []string
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			types = append(types, kind)
		}
		if lines.Text() == `data: {"content":"one "}` {
			close(g.next) // Only now is there a second chunk to be sent.
		}
	}
	if diff := cmp.Diff([]string{"model_selection", "chunk", "chunk", "done"}, types); diff != "" {
		t.Error(diff)
	}
}

func (s *service) dial(token, session string) *websocket.Conn {
	s.t.Helper()
	ticket, _ := s.do(http.MethodPost, "/api/ws/ticket", token, "").field("ticket").(string)
	conn, _, err := websocket.Dial(s.t.Context(), "ws"+strings.TrimPrefix(s.url, "http")+"/ws/chat/"+session+"?ticket="+ticket,
		&websocket.DialOptions{HTTPClient: s.client})
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// upgrade is what makes a GET the opening of a WebSocket.
func upgrade() []string {
	return []string{
		"Connection", "keep-alive, Upgrade", "Upgrade", "websocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
	}
}

func (s *service) readUntilDone(conn *websocket.Conn) []string {
	s.t.Helper()
	var types []string
	for {
		_, raw, err := conn.Read(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		var e struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			s.t.Fatal(err)
		}
		if types = append(types, e.Type); e.Type == "done" {
			return types
		}
	}
}

func TestWebSocketGetsTheTurn(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	session, _ := s.do(http.MethodPost, "/api/chat", token, `{"prompt":"a b"}`).field("sessionId").(string)
	// It attaches after the turn: the events were kept.
	conn := s.dial(token, session)
	if diff := cmp.Diff([]string{"model_selection", "chunk", "done"}, s.readUntilDone(conn)); diff != "" {
		t.Error(diff)
	}
	// It is attached during the next turn: the chunks come one by one.
	want(t, "second turn", s.do(http.MethodPost, "/api/chat", token, `{"prompt":"a b","sessionId":"`+session+`"}`), http.StatusOK, "")
	if got := s.readUntilDone(conn); len(got) != 6 {
		t.Errorf("events %v", got)
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")

	refuse := func(name, path string, status int, code string, header ...string) {
		t.Helper()
		got := s.do(http.MethodGet, path, "", "", append(upgrade(), header...)...)
		if got.status != status || got.field("error") != code {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	newTicket := func(token string) string {
		ticket, _ := s.do(http.MethodPost, "/api/ws/ticket", token, "").field("ticket").(string)
		return ticket
	}
	ticket := newTicket(token)
	plain := s.do(http.MethodGet, "/ws/chat/"+session+"?ticket="+ticket, "", "")
	want(t, "no upgrade", plain, http.StatusUpgradeRequired, "upgrade_required")
	want(t, "HEAD", s.do(http.MethodHead, "/ws/chat/"+session+"?ticket="+ticket, "", ""), http.StatusMethodNotAllowed, "")
	refuse("the ticket is still good", "/ws/chat/a.b?ticket="+ticket, 401, "invalid_session_id")
	refuse("no ticket", "/ws/chat/"+session, 401, "missing_ticket")
	refuse("bad ticket", "/ws/chat/"+session+"?ticket=wst_"+strings.Repeat("0", 48), 401, "invalid_ticket")
	refuse("bad id", "/ws/chat/a.b?ticket="+newTicket(token), 401, "invalid_session_id")
	refuse("foreign origin", "/ws/chat/"+session+"?ticket="+newTicket(token), 403, "forbidden_origin", "Origin", "https://evil.example")
	refuse("another's session", "/ws/chat/"+session+"?ticket="+newTicket(s.token()), 403, "forbidden_session")
}

// absentTickets is a store that does not answer.
type absentTickets struct{}

func (absentTickets) Put(context.Context, string, string, time.Duration, int) error {
	return errors.New("connection refused")
}

func (absentTickets) Take(context.Context, string) (wallet string, ok bool, err error) {
	return "", false, errors.New("connection refused")
}

// TestTicketsAway: a ticket that nobody can look up is not called a bad one.
func TestTicketsAway(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithAuth(dixie.AuthConfig{Tickets: absentTickets{}}))
	issued := s.do(http.MethodPost, "/api/ws/ticket", s.token(), "")
	want(t, "issue", issued, http.StatusServiceUnavailable, "service_unavailable")
	redeemed := s.do(http.MethodGet, "/ws/chat/x?ticket=wst_"+strings.Repeat("0", 48), "", "", upgrade()...)
	want(t, "redeem", redeemed, http.StatusServiceUnavailable, "service_unavailable")
	if redeemed.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func firstSession(t *testing.T, list answer) string {
	t.Helper()
	var sessions []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(list.body, &sessions); err != nil || len(sessions) == 0 {
		t.Fatalf("sessions %s, %v", list.body, err)
	}
	return sessions[0].ID
}

func TestShutdownDrainsAndClosesSockets(t *testing.T) {
	t.Parallel()
	g := gated{make(chan struct{})}
	s := start(t, g)
	token := s.token()
	result := make(chan answer, 1)
	go func() { result <- s.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`) }()
	done := make(chan error, 1)
	for s.do(http.MethodGet, "/api/sessions", token, "").body[1] == ']' {
		// Until the turn has begun.
		continue
	}
	session := firstSession(t, s.do(http.MethodGet, "/api/sessions", token, ""))
	conn := s.dial(token, session)
	go func() { done <- s.handler.Shutdown(t.Context()) }()
	for s.do(http.MethodGet, "/readyz", "", "").status == http.StatusOK {
		continue
	}
	want(t, "while draining", s.do(http.MethodGet, "/api/health", "", ""), http.StatusServiceUnavailable, "shutting_down")
	close(g.next)
	want(t, "the turn that ran", <-result, http.StatusOK, "")
	for {
		// What is left of the turn, and then the end.
		if _, _, err := conn.Read(t.Context()); err != nil {
			if status := websocket.CloseStatus(err); status != websocket.StatusGoingAway {
				t.Errorf("the socket closed with %v: %v", status, err)
			}
			break
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
