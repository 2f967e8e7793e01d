package proxybench_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dixie/internal/auth"
)

const (
	// workers is the number of connections, each with a request under way.
	workers = 32
	// callers is the number of wallets, each with a session. A worker takes turns between two, so that even
	// 10,000 requests a second meet no rate limit; Finn holds a hundred sessions.
	callers = 2 * workers
	// answerWords is the length of an answer.
	answerWords = 20
)

// caller is a wallet that has signed in, its chat session, and the address from which it calls: Finn allows
// an address five streams at a time.
type caller struct {
	token, session, address string
}

// enroll signs the callers in and lets dixie begin a session for each, which the other proxies use as well.
func enroll(tb testing.TB, dixie *process) []caller {
	tb.Helper()
	signer, err := auth.NewHS256([]byte(tokenSecret))
	if err != nil {
		tb.Fatal(err)
	}
	c := connect(tb, dixie)
	list := make([]caller, callers)
	for i := range list {
		address, err := walletOf(i)
		if err != nil {
			tb.Fatal(err)
		}
		token, err := signer.Sign(address, "team")
		if err != nil {
			tb.Fatal(err)
		}
		list[i] = caller{token: token, address: fmt.Sprintf("192.0.2.%d", i+1)}
		body, err := c.whole(list[i].request(dixie, `{"prompt":"hello"}`, ""))
		if err != nil {
			tb.Fatal(err)
		}
		var answer struct {
			SessionID string `json:"sessionId"`
		}
		if err := json.Unmarshal(body, &answer); err != nil || answer.SessionID == "" {
			tb.Fatalf("no session in %s: %v", body, err)
		}
		list[i].session = answer.SessionID
	}
	return list
}

// request is the text of a chat request at dixie.
func (c *caller) request(to *process, body, accept string) []byte {
	return c.post(to, "/api/chat", body, accept)
}

func (c *caller) post(to *process, path, body, accept string) []byte {
	if accept == "" {
		accept = "application/json"
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: proxybench\r\nAccept: %s\r\nAuthorization: Bearer %s\r\n"+
		"X-Forwarded-For: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, to.host, accept, c.token, c.address, len(body), body)
}

// prompt is the text of a request for an answer of so many words, in the form that the process takes.
func (c *caller) prompt(to *process, text string) []byte {
	if isDixie(to.role) {
		return c.request(to, fmt.Sprintf(`{"prompt":%q,"sessionId":%q}`, text, c.session), "")
	}
	return c.post(to, "/api/sessions/"+c.session+"/message", fmt.Sprintf(`{"text":%q}`, text), "")
}

// wordsOf are the pieces of an answer as Finn streams it.
func wordsOf(n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprintf("word%d ", i+1)
	}
	words[n-1] = strings.TrimSpace(words[n-1])
	return words
}

// client is one keep-alive connection. It costs less than an http.Client, and the processors are shared with what
// is measured.
type client struct {
	conn   net.Conn
	reader *bufio.Reader
}

func dial(to *process) (*client, error) {
	conn, err := net.Dial("tcp", to.host)
	if err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReader(conn)}, nil
}

// connect is a connection that the test closes.
func connect(tb testing.TB, to *process) *client {
	tb.Helper()
	c, err := dial(to)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.close)
	return c
}

func (c *client) close() { _ = c.conn.Close() }

// errStatus is an answer other than 200.
var errStatus = errors.New("refused")

// send writes a request and reads the head of the answer, whose body the caller must read to its end.
func (c *client) send(request []byte) (*http.Response, error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || response.Close {
		text, _ := io.ReadAll(response.Body)
		return nil, fmt.Errorf("%w: %s %s", errStatus, response.Status, text)
	}
	return response, nil
}

// whole sends a request and returns the body of its answer.
func (c *client) whole(request []byte) ([]byte, error) {
	response, err := c.send(request)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(response.Body)
}

// load is a number of connections to a process, with prepared requests.
type load struct {
	clients  []*client
	requests [][]byte
	want     []byte
}

func newLoad(tb testing.TB, to *process, callers []caller) *load {
	tb.Helper()
	l := &load{want: fmt.Appendf(nil, `"response":%q`, strings.Join(wordsOf(answerWords), ""))}
	for range workers {
		l.clients = append(l.clients, connect(tb, to))
	}
	for _, c := range callers {
		l.requests = append(l.requests, c.prompt(to, fmt.Sprintf("Tell me about the weather. [[words %d]]", answerWords)))
	}
	return l
}

// run makes n requests over all connections and returns how long that took.
func (l *load) run(n int) (time.Duration, error) {
	var left atomic.Int64
	left.Store(int64(n))
	problems := make([]error, len(l.clients))
	var all sync.WaitGroup
	start := time.Now()
	for w, c := range l.clients {
		all.Go(func() {
			for mine := w; left.Add(-1) >= 0 && problems[w] == nil; mine = (mine + workers) % len(l.requests) {
				body, err := c.whole(l.requests[mine])
				if err == nil && !bytes.Contains(body, l.want) {
					err = fmt.Errorf("answered %s", body)
				}
				problems[w] = err
			}
		})
	}
	all.Wait()
	return time.Since(start), errors.Join(problems...)
}
