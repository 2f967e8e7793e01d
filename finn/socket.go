package finn

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"
)

const (
	// readLimit bounds a frame of Finn's. Finn sends up to 1 MiB of text,
	// which JSON escapes may stretch.
	readLimit = 4 << 20
	// pingEvery keeps a socket of a long turn from being taken for idle: Finn
	// closes those from which it hears nothing for five minutes.
	pingEvery = 30 * time.Second
	// abortGrace is how long Finn has to take note of an abort.
	abortGrace = time.Second
	// byeGrace is how long Finn has to answer that a socket closes.
	byeGrace = time.Second
	// barrierPause is the wait before another try while Finn initialises.
	barrierPause = 50 * time.Millisecond
)

// socket is a connection of one turn, with a keeper goroutine that pings,
// aborts the turn when its context ends, and closes the connection.
type socket struct {
	conn   *websocket.Conn
	raw    io.Closer       // What conn is made of.
	readOn context.Context //nolint:containedctx // Ends a read; made and cancelled by the keeper.
	done   chan struct{}   // Closed by release: the turn is over.
	quiet  chan struct{}   // Closed by drained: the aborted turn has ended.
}

// socketRoute stands for the path of a socket in the log.
const socketRoute = "/ws/{id}"

// open dials Finn's socket of the session.
func (s *stream) open(sessionID string) (outcome, error) {
	c := s.client
	ctx, cancel := context.WithTimeoutCause(s.ctx, c.control, errTimeLimit)
	defer cancel()
	caller := wireCaller(s.caller)
	header := http.Header{}
	c.setHeaders(ctx, header, caller)
	header.Set("X-Forwarded-For", socketAddress(caller, sessionID))
	target := c.socket + "/ws/" + url.PathEscape(sessionID)
	if c.token != "" {
		target += "?token=" + url.QueryEscape(c.token)
	}
	hc := *c.http
	if hc.Transport == nil {
		hc.Transport = http.DefaultTransport //nolint:forbidigo // What the caller's client without one uses.
	}
	kept := &keeping{base: hc.Transport}
	hc.Transport = kept
	options := &websocket.DialOptions{HTTPClient: &hc, HTTPHeader: header}
	conn, resp, err := websocket.Dial(ctx, target, options) //nolint:bodyclose // Dial has closed it.
	if err != nil {
		return s.notOpened(ctx, resp, err)
	}
	conn.SetReadLimit(readLimit)
	readOn, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	s.conn = &socket{
		conn: conn, raw: kept.conn, readOn: readOn, done: make(chan struct{}), quiet: make(chan struct{}),
	}
	k := s.conn
	if !c.spawn(func() { k.keep(s.ctx, s.cancel, stopReading, c.closing) }) {
		stopReading()
		_ = conn.CloseNow()
		return excluded, errClosed()
	}
	return succeeded, nil
}

// keeping is the transport of one handshake. It keeps the connection that comes
// of it, to cut it with: once the websocket package has begun to close, it
// cannot be told to hurry.
type keeping struct {
	base http.RoundTripper
	conn io.Closer
}

// RoundTrip implements [http.RoundTripper].
func (t *keeping) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(r)
	if err == nil {
		t.conn = resp.Body
	}
	return resp, err
}

func (s *stream) notOpened(ctx context.Context, resp *http.Response, err error) (outcome, error) {
	if resp == nil || ctx.Err() != nil {
		return s.client.broken(s.caller, ctx, socketRoute, failed, excluded, err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return failed, &Error{Kind: ErrUpstream, Code: CodeMalformed, Status: resp.StatusCode}
	}
	var body []byte
	if resp.Body != nil {
		body, _ = io.ReadAll(resp.Body) // At most 1 KiB, already read.
	}
	o, err := s.client.refused(ctx, socketRoute, resp.StatusCode, resp.Header, body)
	s.client.hold.heed(err)
	return o, err
}

var (
	pingFrame  = []byte(`{"type":"ping"}`)  //nolint:gochecknoglobals // Constant bytes.
	abortFrame = []byte(`{"type":"abort"}`) //nolint:gochecknoglobals // Constant bytes.
)

// barrier waits until Finn answers a ping. It answers recoverable errors until
// the session is ready, and what else comes before is the rest of an earlier
// turn: events go to every socket of a session.
func (s *stream) barrier() (outcome, error) {
	start := time.Now()
	timer := time.AfterFunc(s.client.control, func() { s.cancel(errTimeLimit) })
	defer timer.Stop()
	s.lastSign = start
	if err := s.conn.write(s.ctx, pingFrame); err != nil {
		return s.ended(err)
	}
	for {
		f, err := s.next()
		if err != nil || s.cut {
			return s.ended(err)
		}
		switch f.signal {
		case signalPong:
			if !timer.Stop() {
				s.cancel(errTimeLimit)
				return s.ended(nil)
			}
			return succeeded, nil
		case signalError:
			select {
			case <-time.After(barrierPause):
			case <-s.ctx.Done():
				return s.ended(nil)
			}
			if err := s.conn.write(s.ctx, pingFrame); err != nil {
				return s.ended(err)
			}
		case signalFatal:
			return s.closing()
		case signalEvent, signalLife, signalEnd, signalBlocked:
		}
	}
}

func (k *socket) read() (frame, error) {
	kind, data, err := k.conn.Read(k.readOn)
	if err != nil {
		return frame{}, err //nolint:wrapcheck // Judged and replaced by the stream.
	}
	if kind != websocket.MessageText {
		return frame{}, errFrame
	}
	return decodeFrame(data)
}

// write sends a frame unless ctx has ended. The write itself is bounded apart:
// a context that ends in the middle of it would close the connection, and no
// abort could follow.
func (k *socket) write(ctx context.Context, text []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	bounded, cancel := context.WithTimeout(k.readOn, DefaultControlTimeout)
	defer cancel()
	//nolint:wrapcheck,contextcheck // The stream judges and replaces the error; the bound is explained above.
	return k.conn.Write(bounded, websocket.MessageText, text)
}

// release tells the keeper that the turn is over.
func (k *socket) release() { close(k.done) }

// drained tells the keeper that Finn has ended the aborted turn.
func (k *socket) drained() { close(k.quiet) }

// keep looks after the connection until the turn is over, then closes it.
func (k *socket) keep(
	turn context.Context, cancel context.CancelCauseFunc, stopReading context.CancelFunc, closing <-chan struct{},
) {
	defer stopReading()
	closed := closing // Stays, when closing is taken out of the select.
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-k.done:
			k.bye(closed)
			return
		case <-ping.C:
			// A failed write ends the read as well, which the stream reports.
			_ = k.write(turn, pingFrame)
		case <-closing:
			cancel(errClosed())
			closing = nil
		case <-turn.Done():
			select {
			case <-k.done: // The turn has ended by itself: an abort might hit the next one.
				k.bye(closed)
				return
			default:
			}
			k.abort() //nolint:contextcheck // The turn's context has just ended.
			return
		}
	}
}

// bye closes with a handshake, for Finn to see an orderly end. Nobody waits for
// it but Close, so the connection is cut when the client closes, or when Finn
// does not answer.
func (k *socket) bye(closing <-chan struct{}) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		_ = k.conn.Close(websocket.StatusNormalClosure, "")
	}()
	grace := time.NewTimer(byeGrace)
	defer grace.Stop()
	select {
	case <-said:
		return
	case <-closing:
	case <-grace.C:
	}
	_ = k.raw.Close()
	<-said
}

// abort ends the turn at Finn. The reader goes on for a moment: closing a
// connection with unread data would reset it, and Finn might never see the
// abort.
func (k *socket) abort() {
	ctx, cancel := context.WithTimeout(k.readOn, abortGrace)
	defer cancel()
	if err := k.conn.Write(ctx, websocket.MessageText, abortFrame); err == nil || !errors.Is(err, context.DeadlineExceeded) {
		select {
		case <-k.quiet:
		case <-k.done:
		case <-ctx.Done():
		}
	}
	_ = k.conn.CloseNow()
}
