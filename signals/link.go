package signals

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	reconnectWait = 2 * time.Second
	// connectTimeout is for dialling, and again for the handshake.
	connectTimeout = 2 * time.Second
	writeTimeout   = 5 * time.Second
	// A server that holds still is noticed after three of these at most.
	pingInterval = 10 * time.Second
	maxPingsOut  = 2
	// noReconnectBuffer makes the client refuse messages while it is disconnected. Its own buffer would
	// take them and forget them with the process, and nobody could tell when they arrive.
	noReconnectBuffer = -1
)

// The states of a link.
const (
	linkNew int32 = iota
	linkUp
	linkDown
	// linkDead is a client that has given up, as it does after an error of the server that it does not know.
	linkDead
)

// link is one client of NATS. It reconnects by itself, until it is dead.
type link struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	state atomic.Int32
	cause atomic.Pointer[error] // Why it is not up, as far as is known.
}

// connected is nil, or says why not. It does not ask the client, which may be busy for seconds.
func (l *link) connected() error {
	if l.state.Load() == linkUp {
		return nil
	}
	if cause := l.cause.Load(); cause != nil {
		return fmt.Errorf("%w: %w", ErrDisconnected, *cause)
	}
	return ErrDisconnected
}

func (l *link) fell(state int32, err error) {
	if err != nil {
		l.cause.Store(&err)
	}
	l.state.Store(state)
}

// open makes a client and waits for its first attempt to connect.
func (p *Publisher) open() (*link, error) {
	l := &link{}
	rose := func(*nats.Conn) {
		l.state.Store(linkUp)
		p.lookDue.Store(true)
		signalTo(p.changed)
	}
	fell := func(state int32, err error) {
		l.fell(state, err)
		p.flights.cancel(ErrDisconnected, func(f *flight) bool { return f.link == l })
		signalTo(p.changed)
	}
	nc, err := nats.Connect(p.servers,
		nats.Name(p.cfg.Name), nats.SetCustomDialer(p.dialer), nats.SkipHostLookup(),
		nats.Timeout(connectTimeout), nats.FlusherTimeout(writeTimeout),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(maxPingsOut),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(noReconnectBuffer), nats.IgnoreAuthErrorAbort(),
		nats.ConnectHandler(rose), nats.ReconnectHandler(rose),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { fell(linkDown, err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.cause.Store(&err) }),
		nats.ClosedHandler(func(nc *nats.Conn) { fell(linkDead, nc.LastError()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { p.asyncError(l, err) }),
	)
	if err != nil {
		return nil, fmt.Errorf("signals: connect: %w", err)
	}
	l.nc = nc
	if l.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, fmt.Errorf("signals: %w", err)
	}
	if nc.IsConnected() {
		l.state.CompareAndSwap(linkNew, linkUp)
	}
	return l, nil
}

// asyncError hears what the server says about no request in particular.
func (p *Publisher) asyncError(l *link, err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		l.cause.Store(&err)
		return
	}
	p.flights.cancel(err, func(f *flight) bool {
		return f.link == l && strings.Contains(err.Error(), `Publish to "`+f.subject+`"`)
	})
}

// flight is a request that waits for its answer.
type flight struct {
	link    *link
	subject string
	cancel  context.CancelCauseFunc
}

// flights are the requests under way. Disconnections and refusals end them early, for NATS answers
// neither.
type flights struct {
	mu  sync.Mutex
	all map[*flight]struct{} // GUARDED_BY(mu)
}

// start enters a request and returns its context, and what ends it.
func (f *flights) start(ctx context.Context, l *link, subject string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	entry := &flight{link: l, subject: subject, cancel: cancel}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[*flight]struct{})
	}
	f.all[entry] = struct{}{}
	return ctx, func() {
		f.mu.Lock()
		delete(f.all, entry)
		f.mu.Unlock()
		cancel(nil)
	}
}

func (f *flights) cancel(cause error, which func(*flight) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for entry := range f.all {
		if which(entry) {
			entry.cancel(cause)
		}
	}
}

// request runs one request within ctx. If it was ended early the error is why.
func (p *Publisher) request(ctx context.Context, l *link, subject string, run func(context.Context) error) error {
	ctx, end := p.flights.start(ctx, l, subject)
	defer end()
	err := run(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// dialer dials until the publisher ends, and then ends what was dialled: the client itself would wait for
// its timeouts.
type dialer struct {
	life context.Context //nolint:containedctx // It is the life of the publisher, not of a call.

	mu   sync.Mutex
	conn net.Conn // GUARDED_BY(mu); the latest, of which a client has one at a time
}

var _ nats.CustomDialer = (*dialer)(nil)

// Dial implements [nats.CustomDialer].
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(d.life, network, address)
	if err != nil {
		return nil, err //nolint:wrapcheck // The client knows the errors of the net package.
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.Err() != nil {
		_ = conn.Close()
		return nil, d.life.Err()
	}
	d.conn = conn
	return conn, nil
}

// abort closes the latest connection. The publisher's life has ended, so that there is no later one.
func (d *dialer) abort() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close()
	}
}
