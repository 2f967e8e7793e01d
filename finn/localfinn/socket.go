package localfinn

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"dixie/finn"
)

// Bounds of sockets.
const (
	// MaxSocketsPerAddress is how many sockets one client address may have.
	MaxSocketsPerAddress = 5
	// MaxSockets is how many sockets there may be in all.
	MaxSockets = 1024
	// SocketIdle is how long a socket may be without a message of its client.
	SocketIdle = 5 * time.Minute

	// slowSocket is how long a client may take to accept a frame; a slower one
	// is dropped, since it holds up the turn for everybody.
	slowSocket = 5 * time.Second
)

// Close codes of the protocol.
const (
	closeAuth    websocket.StatusCode = 4001
	closeUnknown websocket.StatusCode = 4004
	closeTooMany websocket.StatusCode = 4029
)

// socketBook counts sockets per address.
type socketBook struct {
	mu        sync.Mutex
	byAddress map[string]int // GUARDED_BY(mu)
	total     int            // GUARDED_BY(mu)
}

func (b *socketBook) take(address string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total >= MaxSockets || b.byAddress[address] >= MaxSocketsPerAddress {
		return false
	}
	if b.byAddress == nil {
		b.byAddress = make(map[string]int)
	}
	b.byAddress[address]++
	b.total++
	return true
}

func (b *socketBook) give(address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	b.byAddress[address]--
	if b.byAddress[address] == 0 {
		delete(b.byAddress, address)
	}
}

func clientAddress(r *http.Request) string {
	if a := r.Header.Get("Cf-Connecting-Ip"); a != "" {
		return a
	}
	if a, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ","); strings.TrimSpace(a) != "" {
		return strings.TrimSpace(a)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// wire is one socket.
type wire struct {
	server  *Server
	session *session
	conn    *websocket.Conn
	idle    *time.Timer
	trusted bool
}

//nolint:contextcheck // The context of a request is of no use once its connection is hijacked.
func (s *Server) socket(w http.ResponseWriter, r *http.Request) {
	if !s.open && !s.tokenMatches(r.URL.Query().Get("token")) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if !s.enter(&s.wires) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer s.wires.Done()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered.
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(finn.MaxFrame)
	address := clientAddress(r)
	if !s.sockets.take(address) {
		_ = conn.Close(closeTooMany, "Too many connections")
		return
	}
	defer s.sockets.give(address)
	ctx := s.life
	k := &wire{server: s, conn: conn, trusted: s.open}
	l := &listener{send: func(text []byte) { k.send(ctx, text) }}
	k.session = s.sessions.attach(r.PathValue("id"), l, time.Now())
	if k.session == nil {
		k.send(ctx, errorFrame("Session not found", false))
		_ = conn.Close(closeUnknown, "Session not found")
		return
	}
	defer k.session.detach(l)
	k.serve(ctx)
}

// serve reads until the client goes, is idle for too long, or the server closes.
func (k *wire) serve(ctx context.Context) {
	k.idle = time.AfterFunc(SocketIdle, func() { _ = k.conn.Close(websocket.StatusNormalClosure, "Idle") })
	defer k.idle.Stop()
	unwatch := context.AfterFunc(ctx, func() { _ = k.conn.Close(websocket.StatusGoingAway, "Shutting down") })
	defer unwatch()
	for {
		// Without the lifetime as its context: that would cut the connection
		// before the close frame is out.
		kind, data, err := k.conn.Read(context.WithoutCancel(ctx))
		if err != nil {
			return
		}
		k.idle.Reset(SocketIdle)
		k.session.touch(time.Now())
		if kind != websocket.MessageText || !k.handle(ctx, data) {
			return
		}
	}
}

// handle obeys a message; false closes the socket.
func (k *wire) handle(ctx context.Context, data []byte) bool {
	var m struct {
		Type  string  `json:"type"`
		Text  string  `json:"text"`
		Token *string `json:"token"`
	}
	if json.Unmarshal(data, &m) != nil {
		k.send(ctx, errorFrame("Invalid message", true))
		return true
	}
	if m.Token != nil && !k.trusted {
		if !k.server.tokenMatches(*m.Token) {
			_ = k.conn.Close(closeAuth, "Unauthorized")
			return false
		}
		k.trusted = true
		k.send(ctx, frame("authenticated", map[string]any{}))
		return true
	}
	switch m.Type {
	case "ping":
		k.send(ctx, []byte(`{"type":"pong"}`))
	case "abort":
		k.session.abort()
	case "steer":
		if strings.TrimSpace(m.Text) != "" {
			k.session.steer(m.Text)
		}
	case "prompt":
		k.prompt(ctx, m.Text)
	default:
		k.send(ctx, errorFrame("Unknown message type", true))
	}
	return true
}

// prompt runs a turn beside the reading, which must go on for aborts. The turn
// outlives the socket.
func (k *wire) prompt(ctx context.Context, text string) {
	if strings.TrimSpace(text) == "" {
		k.send(ctx, errorFrame("Prompt text required", true))
		return
	}
	turn, err := k.server.start(ctx, k.session, text)
	switch {
	case errors.Is(err, errBusy):
		k.send(ctx, errorFrame("A prompt is already running", true))
	case err != nil:
		k.send(ctx, errorFrame("Shutting down", true))
	default:
		// The sockets hear of a failed model as an event.
		go func() { _, _ = turn.run() }()
	}
}

// send writes a frame; a client that does not take it in time is dropped.
func (k *wire) send(ctx context.Context, text []byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowSocket)
	defer cancel()
	_ = k.conn.Write(ctx, websocket.MessageText, text) // A failure ends the read.
}

func frame(kind string, data any) []byte {
	text, err := json.Marshal(struct {
		Type string `json:"type"`
		Data any    `json:"data"`
	}{kind, data})
	if err != nil { // A responder's arguments that are not JSON.
		return errorFrame("Invalid event", true)
	}
	return text
}

func turnEndFrame() []byte { return frame("turn_end", map[string]any{}) }

func errorFrame(message string, recoverable bool) []byte {
	return frame("error", map[string]any{"message": message, "recoverable": recoverable})
}
