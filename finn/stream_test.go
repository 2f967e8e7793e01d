package finn_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"dixie/finn"
)

// wire is Finn's end of a socket in a test.
type wire struct {
	t    *testing.T
	conn *websocket.Conn
}

func (w *wire) send(frames ...string) {
	w.t.Helper()
	for _, f := range frames {
		if err := w.conn.Write(context.WithoutCancel(w.t.Context()), websocket.MessageText, []byte(f)); err != nil {
			w.t.Errorf("send %.80s: %v", f, err)
		}
	}
}

// next returns the type of the client's next message and its text, or the
// error that ended the socket.
func (w *wire) next() (kind, text string, err error) {
	_, data, err := w.conn.Read(context.WithoutCancel(w.t.Context()))
	if err != nil {
		return "", "", err
	}
	var m struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		w.t.Errorf("client sent %q", data)
	}
	return m.Type, m.Text, nil
}

// expect reads a message of that type.
func (w *wire) expect(want string) string {
	w.t.Helper()
	kind, text, err := w.next()
	if err != nil || kind != want {
		w.t.Errorf("client sent %q (%v), want %q", kind, err, want)
	}
	return text
}

// ready is the opening of every turn, up to the prompt.
func (w *wire) ready() string {
	w.t.Helper()
	w.expect("ping")
	w.send(`{"type":"pong"}`)
	return w.expect("prompt")
}

// until reads until the client closes, and returns what it sent.
func (w *wire) until() []string {
	var kinds []string
	for {
		kind, _, err := w.next()
		if err != nil {
			return kinds
		}
		kinds = append(kinds, kind)
	}
}

func socketHandler(t *testing.T, script func(*wire)) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer conn.CloseNow()
		script(&wire{t, conn})
	}
}

const (
	hello = `{"type":"text_delta","data":{"delta":"hello"}}`
	end   = `{"type":"agent_end","data":{}}`
)

func TestStreamTranslatesEvents(t *testing.T) {
	t.Parallel()
	client := serve(t, socketHandler(t, func(w *wire) {
		if got := w.ready(); got != "two plus two" {
			t.Errorf("prompt %q", got)
		}
		w.send(
			`{"type":"tool_start","data":{"toolName":"add","args":{"a":2}}}`,
			`{"type":"tool_start","data":{"toolName":"add","args":{"a":3}}}`,
			`{"type":"tool_start","data":{"toolName":"log"}}`,
			`{"type":"tool_end","data":{"toolName":"log","result":"ok","isError":true}}`,
			`{"type":"tool_end","data":{"toolName":"add","result":"{\"sum\":4}","isError":false}}`,
			`{"type":"tool_end","data":{"toolName":"lost","result":{"x":1}}}`,
			`{"type":"turn_end","data":{"cost_cu":"1"}}`,
			`{"type":"compaction","data":{"reason":"long"}}`,
			`{"type":"credit_warning","data":{"balance_cu":"3"}}`,
			`{"type":"from_the_future","data":[1,2]}`,
			`{"type":"text_delta","data":{"delta":""}}`,
			`{"type":"text_delta","data":{"delta":"It is "}}`,
			`{"type":"pong"}`,
			`{"type":"text_delta","data":{"delta":"four."}}`,
			`{"type":"turn_end","data":{}}`,
			end,
		)
		w.until()
	}))
	var events []finn.Event
	turn, err := client.Stream(t.Context(), sessionID, "two plus two", func(e finn.Event) error {
		events = append(events, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantEvents := []finn.Event{
		{Kind: finn.ToolStart, Tool: "add", Args: json.RawMessage(`{"a":2}`)},
		{Kind: finn.ToolStart, Tool: "add", Args: json.RawMessage(`{"a":3}`)},
		{Kind: finn.ToolStart, Tool: "log"},
		{Kind: finn.ToolEnd, Tool: "log", Result: "ok", IsError: true},
		{Kind: finn.ToolEnd, Tool: "add", Result: `{"sum":4}`},
		{Kind: finn.ToolEnd, Tool: "lost", Result: `{"x":1}`},
		{Kind: finn.TextDelta, Text: "It is "},
		{Kind: finn.TextDelta, Text: "four."},
	}
	if diff := cmp.Diff(wantEvents, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	wantTurn := finn.Turn{Response: "It is four.", ToolCalls: []finn.ToolCall{
		{Name: "add", Args: json.RawMessage(`{"a":2}`), Result: `{"sum":4}`},
		{Name: "add", Args: json.RawMessage(`{"a":3}`)},
		{Name: "log", Result: "ok", IsError: true},
		{Name: "lost", Result: `{"x":1}`},
	}}
	if diff := cmp.Diff(wantTurn, turn); diff != "" {
		t.Errorf("turn (-want +got):\n%s", diff)
	}
}

func TestStreamHandshake(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		caller finn.Caller
		want   func(string) bool
	}{
		"IPv4":         {finn.Caller{Address: "203.0.113.9"}, func(a string) bool { return a == "203.0.113.9" }},
		"IPv4 in IPv6": {finn.Caller{Address: "::ffff:203.0.113.9"}, func(a string) bool { return a == "203.0.113.9" }},
		"IPv6 zone":    {finn.Caller{Address: "fe80::1%eth0"}, func(a string) bool { return a == "fe80::1" }},
		"no address": {finn.Caller{}, func(a string) bool {
			addr, err := netip.ParseAddr(a)
			return err == nil && addr.Is6() && addr.IsPrivate()
		}},
		"no real address": {finn.Caller{Address: "evil, 10.0.0.1"}, func(a string) bool {
			addr, err := netip.ParseAddr(a)
			return err == nil && addr.IsPrivate() && addr.Is6()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan *http.Request, 1)
			play := socketHandler(t, func(w *wire) {
				w.ready()
				w.send(hello, end)
				w.until()
			})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen <- r.Clone(context.WithoutCancel(r.Context()))
				play(w, r)
			}))
			t.Cleanup(server.Close)
			client := newClient(t, finn.Config{
				URL: "http://unused.invalid", WebSocketURL: "ws" + strings.TrimPrefix(server.URL, "http"), Token: "s+cret&x",
			})
			tc.caller.RequestID = "req-7"
			if _, err := client.Stream(finn.ContextWithCaller(t.Context(), tc.caller), sessionID, "hi", nil); err != nil {
				t.Fatal(err)
			}
			r := <-seen
			if r.URL.Path != "/ws/s-1" || r.URL.Query().Get("token") != "s+cret&x" {
				t.Errorf("target %s", r.URL)
			}
			if r.Header.Get("X-Request-Id") != "req-7" || r.Header.Get("Authorization") != "Bearer s+cret&x" {
				t.Errorf("headers %v", r.Header)
			}
			if got := r.Header.Get("X-Forwarded-For"); !tc.want(got) {
				t.Errorf("X-Forwarded-For %q", got)
			}
		})
	}
}

func TestStreamWaitsUntilTheSessionIsReady(t *testing.T) {
	t.Parallel()
	client := serve(t, socketHandler(t, func(w *wire) {
		w.expect("ping")
		// The rest of an earlier turn, and a Finn that is still initialising.
		w.send(`{"type":"text_delta","data":{"delta":"stale"}}`, end,
			`{"type":"error","data":{"message":"not initializing","recoverable":true}}`)
		w.ready()
		w.send(hello, end)
		w.until()
	}))
	turn, err := client.Stream(t.Context(), sessionID, "hi", nil)
	if err != nil || turn.Response != "hello" {
		t.Errorf("turn %+v, %v", turn, err)
	}
}

func TestStreamEndings(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2<<20)
	for name, tc := range map[string]struct {
		script  func(*wire)
		kind    error
		code    string
		partial string
	}{
		"nothing said": {func(w *wire) { w.send(end) }, finn.ErrTurnFailed, finn.CodeEmptyAnswer, ""},
		"recoverable error": {func(w *wire) {
			w.send(hello, `{"type":"error","data":{"message":"sk-secret","recoverable":true}}`)
		}, finn.ErrTurnFailed, finn.CodeTurnError, "hello"},
		"unknown session": {func(w *wire) {
			w.send(`{"type":"error","data":{"message":"no","recoverable":false}}`)
			_ = w.conn.Close(4004, "no")
		}, finn.ErrSessionNotFound, "SESSION_NOT_FOUND", ""},
		"budget": {func(w *wire) {
			w.send(`{"type":"billing_blocked","data":{"reason":"sk-secret"}}`)
		}, finn.ErrBudgetExceeded, finn.CodeBillingBlock, ""},
		"token refused":     {func(w *wire) { _ = w.conn.Close(4001, "sk-secret") }, finn.ErrCredential, finn.CodeConnection, ""},
		"too many sockets":  {func(w *wire) { _ = w.conn.Close(4029, "sk-secret") }, finn.ErrRateLimited, finn.CodeConnection, ""},
		"prompt too long":   {func(w *wire) { _ = w.conn.Close(1009, "") }, finn.ErrRefused, finn.CodeInvalidText, ""},
		"internal error":    {func(w *wire) { _ = w.conn.Close(1011, "") }, finn.ErrUpstream, finn.CodeConnection, ""},
		"closed too soon":   {func(w *wire) { w.send(hello); _ = w.conn.Close(1000, "") }, finn.ErrUnavailable, finn.CodeConnection, "hello"},
		"connection lost":   {func(w *wire) { w.send(hello); _ = w.conn.CloseNow() }, finn.ErrUnavailable, finn.CodeConnection, "hello"},
		"garbage":           {func(w *wire) { w.send("garbage") }, finn.ErrUpstream, finn.CodeMalformed, ""},
		"no type":           {func(w *wire) { w.send(`{"data":{}}`) }, finn.ErrUpstream, finn.CodeMalformed, ""},
		"wrong data":        {func(w *wire) { w.send(`{"type":"text_delta","data":{"delta":5}}`) }, finn.ErrUpstream, finn.CodeMalformed, ""},
		"tool without name": {func(w *wire) { w.send(`{"type":"tool_start","data":{}}`) }, finn.ErrUpstream, finn.CodeMalformed, ""},
		"binary": {func(w *wire) {
			_ = w.conn.Write(context.WithoutCancel(w.t.Context()), websocket.MessageBinary, []byte(hello))
		}, finn.ErrUpstream, finn.CodeMalformed, ""},
		"frame too large": {func(w *wire) {
			_ = w.conn.Write(context.WithoutCancel(w.t.Context()), websocket.MessageText,
				[]byte(`{"type":"text_delta","data":{"delta":"`+long+long+long+`"}}`))
		}, finn.ErrUpstream, finn.CodeTooLarge, ""},
		"answer too large": {func(w *wire) {
			for range 5 {
				_ = w.conn.Write(context.WithoutCancel(w.t.Context()), websocket.MessageText,
					[]byte(`{"type":"text_delta","data":{"delta":"`+long+`"}}`))
			}
		}, finn.ErrUpstream, finn.CodeTooLarge, strings.Repeat(long, 4)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := serve(t, socketHandler(t, func(w *wire) {
				w.ready()
				tc.script(w)
				w.until()
			}))
			turn, err := client.Stream(t.Context(), sessionID, "hi", nil)
			wantError(t, err, tc.kind, tc.code)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q repeats Finn's text", err)
			}
			if turn.Response != tc.partial {
				t.Errorf("partial answer of %d bytes, want %d", len(turn.Response), len(tc.partial))
			}
		})
	}
}

func toolStart(name, args string) string {
	return `{"type":"tool_start","data":{"toolName":"` + name + `","args":"` + args + `"}}`
}

func toolEnd(name, result string) string {
	return `{"type":"tool_end","data":{"toolName":"` + name + `","result":"` + result + `"}}`
}

// playing is a Finn that says the frames after the prompt, and the end of the
// turn, to a client that may not stay to hear it.
func playing(t *testing.T, frames ...string) http.HandlerFunc {
	t.Helper()
	return socketHandler(t, func(w *wire) {
		w.ready()
		for _, f := range append(frames, end) {
			if w.conn.Write(context.WithoutCancel(w.t.Context()), websocket.MessageText, []byte(f)) != nil {
				return
			}
		}
		w.until()
	})
}

func TestStreamBoundsAllThatItKeeps(t *testing.T) {
	t.Parallel()
	// It takes all four to get over the bound.
	long := strings.Repeat("x", 5<<19)
	turn, err := serve(t, playing(t,
		toolStart(long, ""), toolStart("a", long), toolEnd("b", long), `{"type":"text_delta","data":{"delta":"`+long+`"}}`,
	)).Stream(t.Context(), sessionID, "hi", nil)
	wantError(t, err, finn.ErrUpstream, finn.CodeTooLarge)
	if len(turn.ToolCalls) != 3 || turn.Response != "" {
		t.Errorf("%d calls and %d bytes of text kept", len(turn.ToolCalls), len(turn.Response))
	}
}

func TestStreamBoundsToolCalls(t *testing.T) {
	t.Parallel()
	const most = 1000
	pair := []string{toolStart("t", "a"), toolEnd("t", "r")}
	for name, tc := range map[string]struct {
		frames []string
		ok     bool
	}{
		"a thousand in a row":      {slices.Repeat(pair, most), true},
		"a thousand at once":       {append(slices.Repeat(pair[:1], most), slices.Repeat(pair[1:], most)...), true},
		"a thousand without start": {slices.Repeat(pair[1:], most), true},
		"one start more":           {append(slices.Repeat(pair, most), pair[0]), false},
		"one end more":             {append(slices.Repeat(pair, most), pair[1]), false},
		"one end of another more":  {append(slices.Repeat(pair[:1], most), toolEnd("u", "r")), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			turn, err := serve(t, playing(t, append(tc.frames, hello)...)).Stream(t.Context(), sessionID, "hi", nil)
			if !tc.ok {
				wantError(t, err, finn.ErrUpstream, finn.CodeTooLarge)
			} else if err != nil || turn.Response != "hello" || turn.ToolCalls[most-1].Result != "r" {
				t.Errorf("answer %q, %v", turn.Response, err)
			}
			if len(turn.ToolCalls) != most {
				t.Errorf("%d calls", len(turn.ToolCalls))
			}
		})
	}
}

func TestStreamRefusedAtTheHandshake(t *testing.T) {
	t.Parallel()
	for status, kind := range map[int]error{
		http.StatusUnauthorized: finn.ErrCredential, http.StatusNotFound: finn.ErrRefused,
		http.StatusServiceUnavailable: finn.ErrUpstream, http.StatusOK: finn.ErrUpstream,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			_, err := client.Stream(t.Context(), sessionID, "hi", nil)
			if !errors.Is(err, kind) {
				t.Errorf("error = %v, want %v", err, kind)
			}
		})
	}
}

func TestStreamCancelAbortsTheTurn(t *testing.T) {
	t.Parallel()
	aborted := make(chan struct{})
	client := serve(t, socketHandler(t, func(w *wire) {
		w.ready()
		w.send(hello)
		w.expect("abort")
		close(aborted)
		w.send(`{"type":"text_delta","data":{"delta":" too late"}}`, end)
		w.until()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	turn, err := client.Stream(ctx, sessionID, "hi", func(finn.Event) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || turn.Response != "hello" {
		t.Errorf("turn %+v, %v", turn, err)
	}
	select {
	case <-aborted:
	default:
		t.Error("Stream returned before the abort had arrived")
	}
}

func TestStreamStopsWhenTheConsumerFails(t *testing.T) {
	t.Parallel()
	client := serve(t, socketHandler(t, func(w *wire) {
		w.ready()
		w.send(hello, hello, hello)
		w.expect("abort")
		w.send(end)
		w.until()
	}))
	broken := errors.New("client went away")
	calls := 0
	_, err := client.Stream(t.Context(), sessionID, "hi", func(finn.Event) error {
		calls++
		return broken
	})
	if !errors.Is(err, broken) || calls != 1 {
		t.Errorf("error = %v after %d calls", err, calls)
	}
}

func TestCompletedTurnIsNotAborted(t *testing.T) {
	t.Parallel()
	sent := make(chan []string, 1)
	client := serve(t, socketHandler(t, func(w *wire) {
		w.ready()
		w.send(hello, end)
		sent <- w.until()
	}))
	for range 20 {
		if _, err := client.Stream(t.Context(), sessionID, "hi", nil); err != nil {
			t.Fatal(err)
		}
		if more := <-sent; len(more) != 0 {
			t.Fatalf("after the end the client sent %q", more)
		}
	}
}

func TestClientCloseEndsStreams(t *testing.T) {
	t.Parallel()
	client := serve(t, socketHandler(t, func(w *wire) {
		w.ready()
		w.send(hello)
		w.expect("abort")
		w.send(end)
		w.until()
	}))
	closed := make(chan error, 1)
	_, err := client.Stream(t.Context(), sessionID, "hi", func(finn.Event) error {
		go func() { closed <- client.Close() }()
		return nil
	})
	wantError(t, err, finn.ErrUnavailable, finn.CodeClosed)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
