package finn

import (
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"dixie/spansanitizer"
)

// Client talks to one Finn. It is safe for concurrent use.
type Client struct {
	base, socket        string
	token               string
	control, turn, idle time.Duration

	http  *http.Client
	owned *http.Transport // Nil when the caller gave its own HTTP client.
	// do makes an exchange: a caller's client, or the owned transport without
	// one. There are no redirects to follow and no cookies, and for these
	// http.Client copies the headers and the URL of every request.
	do      func(*http.Request) (*http.Response, error)
	logger  *slog.Logger
	tracer  spansanitizer.Tracer
	breaker *breaker
	hold    hold
	health  healthCache
	onCall  func(CallResult)
	// Whether it is silent at either end, see noteSilence.
	httpSilent, socketSilent atomic.Bool

	closing    chan struct{}
	background sync.WaitGroup

	mu     sync.Mutex
	closed bool // GUARDED_BY(mu)
}

// New makes a client. It opens no connection. Its errors wrap [ErrConfig] and
// name every problem at once.
func New(cfg Config) (*Client, error) {
	r, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	c := &Client{
		base: r.base, socket: r.socket, token: cfg.Token,
		control: r.control, turn: r.turn, idle: r.idle,
		logger: r.logger, tracer: cfg.Tracer, closing: make(chan struct{}),
	}
	hc := http.Client{}
	if cfg.HTTPClient != nil {
		hc = *cfg.HTTPClient
	} else {
		c.owned = newTransport(r.control)
		hc.Transport = c.owned
	}
	// Limits are set per call, and a redirect would carry the token and a
	// person's prompt to wherever the answer points.
	hc.Timeout = 0
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http, c.do = &hc, hc.Do
	if c.owned != nil {
		c.do = c.owned.RoundTrip
	}
	c.onCall = cfg.OnCall
	onChange := cfg.OnCircuitChange
	c.breaker = newBreaker(func(change CircuitChange) {
		logTransition(c.logger, change)
		if onChange != nil {
			onChange(change)
		}
	})
	return c, nil
}

func newTransport(dialTimeout time.Duration) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // The WebSocket handshake needs HTTP/1.1.
	return &http.Transport{
		Proxy:               nil,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		Protocols:           protocols,
		MaxIdleConns:        64,
		MaxIdleConnsPerHost: 64,
		// Finn runs on Node.js, whose server drops a connection that has been
		// idle for five seconds. Letting go first avoids writing into one that
		// is just being closed.
		IdleConnTimeout:        4 * time.Second,
		TLSHandshakeTimeout:    dialTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Close ends running streams, which return [ErrUnavailable] with
// [CodeClosed], waits for their connections, which are cut when Finn does not
// take note within about a second, and drops idle ones. Calls made afterwards
// fail alike; whole turns that are under way are left to finish. It is
// idempotent and always returns nil.
func (c *Client) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
	}
	c.mu.Unlock()
	c.background.Wait()
	if c.owned != nil {
		c.owned.CloseIdleConnections()
	}
	return nil
}

// CircuitState returns the state of the breaker now.
func (c *Client) CircuitState() CircuitState { return c.breaker.state() }

// spawn runs f in a goroutine that Close waits for, unless the client is
// closed.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.background.Go(f)
	return true
}

func (c *Client) isClosed() bool {
	select {
	case <-c.closing:
		return true
	default:
		return false
	}
}

func errClosed() *Error { return &Error{Kind: ErrUnavailable, Code: CodeClosed} }
