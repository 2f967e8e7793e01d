package localfinn_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"dixie/finn"
	"dixie/finn/localfinn"
)

// peer is a socket to a local Finn, spoken by hand.
type peer struct {
	t    *testing.T
	conn *websocket.Conn
}

type dialer struct {
	client *http.Client
	base   string
}

func (d dialer) dial(t *testing.T, path string, header http.Header) (*peer, *http.Response, error) {
	t.Helper()
	conn, response, err := websocket.Dial(t.Context(), d.base+path, &websocket.DialOptions{HTTPHeader: header, HTTPClient: d.client})
	if err != nil {
		return nil, response, err
	}
	conn.SetReadLimit(1 << 22)
	return &peer{t, conn}, response, nil
}

func (d dialer) open(t *testing.T, path string) *peer {
	t.Helper()
	p, _, err := d.dial(t, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// listen is open for who hears the turns of others: the server has a socket among its listeners a moment after the client
// has it.
func (d dialer) listen(t *testing.T, path string) *peer {
	t.Helper()
	p := d.open(t, path)
	p.ask(`{"type":"ping"}`, `{"type":"pong"}`)
	return p
}

func (p *peer) send(text string) {
	p.t.Helper()
	if err := p.conn.Write(p.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		p.t.Errorf("send: %v", err)
	}
}

func (p *peer) read() string {
	p.t.Helper()
	_, data, err := p.conn.Read(p.t.Context())
	if err != nil {
		p.t.Errorf("read: %v", err)
	}
	return string(data)
}

// ask sends a frame and compares the next ones.
func (p *peer) ask(send string, want ...string) {
	p.t.Helper()
	if send != "" {
		p.send(send)
	}
	var got []string
	for range want {
		got = append(got, p.read())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Errorf("after %.60s (-want +got):\n%s", send, diff)
	}
}

// closed reads until the socket is closed and returns the code.
func (p *peer) closed() websocket.StatusCode {
	for {
		if _, _, err := p.conn.Read(p.t.Context()); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

// live starts a local Finn with the session "s".
func live(t *testing.T, cfg localfinn.Config) dialer {
	t.Helper()
	client, l := connect(t, cfg)
	if _, err := client.Send(t.Context(), "s", "first"); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return dialer{&http.Client{Transport: transport}, l.URL()}
}

const (
	turnEnd  = `{"type":"turn_end","data":{}}`
	agentEnd = `{"type":"agent_end","data":{}}`
)

func delta(text string) string { return `{"type":"text_delta","data":{"delta":"` + text + `"}}` }

func failure(text string) string {
	return `{"type":"error","data":{"message":"` + text + `","recoverable":true}}`
}

func TestSocketProtocol(t *testing.T) {
	t.Parallel()
	p := live(t, localfinn.Config{}).open(t, "/ws/s")
	defer p.conn.CloseNow()
	p.ask(`{"type":"ping"}`, `{"type":"pong"}`)
	p.ask(`{"type":"prompt","text":"a b"}`, delta("You "), delta("said: "), delta("a "), delta("b"), turnEnd, agentEnd)
	p.ask(
		`{"type":"prompt","text":"[[tool t]] x"}`,
		`{"type":"tool_start","data":{"args":{"source":"local-finn"},"toolName":"t"}}`,
		`{"type":"tool_end","data":{"isError":false,"result":"{\"ok\":true}","toolName":"t"}}`,
		turnEnd, delta("You "), delta("said: "), delta("x"), turnEnd, agentEnd,
	)
	p.ask(`{"type":"prompt","text":"[[fail]]"}`, failure("The model failed"), turnEnd, agentEnd)
	p.ask(`{"type":"prompt","text":" "}`, failure("Prompt text required"))
	p.ask(`{"type":"prompt"}`, failure("Prompt text required"))
	p.ask(`not json`, failure("Invalid message"))
	p.ask(`{"type":"dance"}`, failure("Unknown message type"))
	p.send(`{"type":"abort"}`) // Nothing runs: no effect.
	p.send(`{"type":"steer","text":"left"}`)
	p.ask(`{"type":"ping"}`, `{"type":"pong"}`)
}

func TestSocketAbortAndBusy(t *testing.T) {
	t.Parallel()
	d := live(t, localfinn.Config{})
	p, q := d.open(t, "/ws/s"), d.listen(t, "/ws/s")
	defer p.conn.CloseNow()
	defer q.conn.CloseNow()
	// The abort comes right behind the prompt, and finds it all the same.
	p.send(`{"type":"prompt","text":"[[sleep 5m]]"}`)
	p.send(`{"type":"prompt","text":"me too"}`)
	p.send(`{"type":"abort"}`)
	p.ask("", failure("A prompt is already running"), turnEnd, agentEnd)
	q.ask("", turnEnd, agentEnd) // Every socket of the session hears it.
	q.ask(`{"type":"prompt","text":"[[words 1]]"}`, delta("word1"), turnEnd, agentEnd)
	p.ask("", delta("word1"), turnEnd, agentEnd)
}

func TestSteerIsHeardWithTheNextPrompt(t *testing.T) {
	t.Parallel()
	seen := make(chan localfinn.Turn, 4)
	proceed := make(chan struct{})
	d := live(t, localfinn.Config{Responder: script(
		func(_ context.Context, turn localfinn.Turn, emit func(finn.Event)) error {
			seen <- turn
			if turn.Prompt == "wait" {
				<-proceed
			}
			emit(say("ok"))
			return nil
		})})
	p := d.open(t, "/ws/s")
	defer p.conn.CloseNow()
	p.send(`{"type":"prompt","text":"wait"}`)
	p.send(`{"type":"steer","text":"left"}`)
	p.send(`{"type":"steer","text":" "}`)
	p.ask(`{"type":"ping"}`, `{"type":"pong"}`)
	close(proceed)
	p.ask("", delta("ok"), turnEnd, agentEnd)
	p.ask(`{"type":"prompt","text":"go"}`, delta("ok"), turnEnd, agentEnd)
	var last localfinn.Turn
	for range 3 {
		last = <-seen
	}
	var texts []string
	for _, m := range last.History {
		texts = append(texts, string(m.Role)+" "+m.Text)
	}
	if diff := cmp.Diff([]string{"user first", "assistant ok", "user wait", "user left", "assistant ok"}, texts); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestHTTPTurnsAreHeardOnSockets(t *testing.T) {
	t.Parallel()
	d := live(t, localfinn.Config{})
	p := d.listen(t, "/ws/s")
	defer p.conn.CloseNow()
	client, err := finn.New(finn.Config{URL: d.base})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Send(t.Context(), "s", "[[words 1]]"); err != nil {
		t.Fatal(err)
	}
	p.ask("", delta("word1"), turnEnd, agentEnd)
}

func TestSocketAuthentication(t *testing.T) {
	t.Parallel()
	d := live(t, localfinn.Config{Token: "finn-secret"})
	for _, path := range []string{"/ws/s", "/ws/s?token=", "/ws/s?token=wrong"} {
		p, response, err := d.dial(t, path, http.Header{"Authorization": {"Bearer finn-secret"}})
		if err == nil {
			_ = p.conn.CloseNow()
			t.Errorf("%s was let in", path)
		} else if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: status %d", path, response.StatusCode)
		}
	}
	p := d.open(t, "/ws/s?token=finn-secret")
	p.ask(`{"type":"ping"}`, `{"type":"pong"}`)
	p.ask(`{"token":"finn-secret"}`, `{"type":"authenticated","data":{}}`)
	p.ask(`{"type":"ping","token":"ignored now"}`, `{"type":"pong"}`)
	_ = p.conn.CloseNow()
	q := d.open(t, "/ws/s?token=finn-secret")
	q.send(`{"token":"wrong"}`)
	if code := q.closed(); code != 4001 {
		t.Errorf("closed with %d", code)
	}
}

func TestUnknownSessionsHaveNoSocket(t *testing.T) {
	t.Parallel()
	d := live(t, localfinn.Config{})
	for _, path := range []string{"/ws/unknown", "/ws/", "/ws/chat/s", "/ws/a.b"} {
		p := d.open(t, path)
		p.ask("", `{"type":"error","data":{"message":"Session not found","recoverable":false}}`)
		if code := p.closed(); code != 4004 {
			t.Errorf("%s closed with %d", path, code)
		}
	}
	// Nothing has crashed.
	p := d.open(t, "/ws/s")
	p.ask(`{"type":"ping"}`, `{"type":"pong"}`)
	_ = p.conn.CloseNow()
}

func TestFiveSocketsPerAddress(t *testing.T) {
	t.Parallel()
	d := live(t, localfinn.Config{})
	open := func(header, address string) *peer {
		t.Helper()
		p, _, err := d.dial(t, "/ws/s", http.Header{header: {address}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	var peers []*peer
	for range localfinn.MaxSocketsPerAddress {
		p := open("X-Forwarded-For", "198.51.100.7, 10.0.0.1")
		p.ask(`{"type":"ping"}`, `{"type":"pong"}`)
		peers = append(peers, p)
	}
	if code := open("X-Forwarded-For", "198.51.100.7").closed(); code != 4029 {
		t.Errorf("the sixth was closed with %d", code)
	}
	if code := open("Cf-Connecting-Ip", "198.51.100.7").closed(); code != 4029 {
		t.Errorf("the sixth was closed with %d", code)
	}
	other := open("X-Forwarded-For", "198.51.100.8")
	other.ask(`{"type":"ping"}`, `{"type":"pong"}`)
	_ = other.conn.CloseNow()
	for _, p := range peers {
		_ = p.conn.Close(websocket.StatusNormalClosure, "")
	}
}

func TestSocketOfForeignOrigin(t *testing.T) {
	t.Parallel()
	p, response, err := live(t, localfinn.Config{}).dial(t, "/ws/s", http.Header{"Origin": {"https://evil.example"}})
	if err == nil {
		_ = p.conn.CloseNow()
		t.Fatal("was let in")
	}
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestOversizedMessageClosesTheSocket(t *testing.T) {
	t.Parallel()
	p := live(t, localfinn.Config{}).open(t, "/ws/s")
	p.send(`{"type":"prompt","text":"` + strings.Repeat("x", finn.MaxFrame) + `"}`)
	if code := p.closed(); code != websocket.StatusMessageTooBig {
		t.Errorf("closed with %d", code)
	}
}

func TestServerCloseSaysGoingAway(t *testing.T) {
	t.Parallel()
	client, l := connect(t, localfinn.Config{})
	if _, err := client.Send(t.Context(), "s", "hi"); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	p := dialer{&http.Client{Transport: transport}, l.URL()}.open(t, "/ws/s")
	p.ask(`{"type":"ping"}`, `{"type":"pong"}`)
	code := make(chan websocket.StatusCode, 1)
	go func() { code <- p.closed() }()
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-code; got != websocket.StatusGoingAway {
		t.Errorf("closed with %d", got)
	}
}

// pipes is a listener whose connections are pipes, for virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (l *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// virtual serves a local Finn with the session "s", begun by that prompt, in a
// synctest bubble.
func virtual(t *testing.T, server *localfinn.Server, prompt string) (dialer, func()) {
	t.Helper()
	listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	httpServer := &http.Server{Handler: server}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = httpServer.Serve(listener)
	}()
	transport := &http.Transport{DialContext: listener.dial}
	post(t, server, "s", prompt)
	return dialer{&http.Client{Transport: transport}, "http://finn.test"}, func() {
		if err := server.Close(t.Context()); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
		_ = httpServer.Close()
		<-served
	}
}

func TestIdleSocketIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, stop := virtual(t, localfinn.New(localfinn.Config{}), "first")
		defer stop()
		p := d.open(t, "/ws/s")
		time.Sleep(4 * time.Minute) // fake clock
		p.ask(`{"type":"ping"}`, `{"type":"pong"}`)
		begun := time.Now()
		if code := p.closed(); code != websocket.StatusNormalClosure {
			t.Errorf("closed with %d", code)
		}
		if took := time.Since(begun); took != localfinn.SocketIdle {
			t.Errorf("closed after %v", took)
		}
	})
}

func TestDeafSocketDoesNotHoldUpTheTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := localfinn.New(localfinn.Config{})
		d, stop := virtual(t, server, "first")
		defer stop()
		p := d.open(t, "/ws/s") // Never reads.
		defer p.conn.CloseNow()
		synctest.Wait()
		begun := time.Now()
		if got := post(t, server, "s", "[[words 100]]"); got.Code != http.StatusOK {
			t.Errorf("status %d", got.Code)
		}
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
