// Package signals tells other services of what happens in dixie, through NATS JetStream: chat turns that
// were answered, and changes of fleet tasks.
//
// There are two ways out. [Publisher.Fleet] waits until JetStream has stored the signal, for a caller that
// comes back when it has not: fleet/postgres, which so publishes every change at least once. Repetitions
// carry the same id, and JetStream keeps one of them. [Publisher.OfferFleet] and [Publisher.Interaction]
// never wait and never fail: they put the signal into a bounded buffer, from which it is published in order
// while NATS is there; what does not fit is dropped and counted, see [Stats].
//
// A signal that belongs to a trace has a header traceparent, and tracestate where there is one, as the W3C writes
// them, beside its id: those of the task's spawn for a task, and those of the turn for a chat turn.
//
// The stream is [Stream]. It is created where it is missing; one that exists is left as it is.
package signals

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Defaults and bounds of [Config].
const (
	DefaultName    = "dixie-bff"
	DefaultBuffer  = 4096
	MaxBuffer      = 65_536
	DefaultAckWait = 5 * time.Second
	// MaxBufferBytes bounds the payloads that are buffered together, with their traces, whatever their number.
	MaxBufferBytes = 16 << 20
)

var (
	// ErrRefused is a signal that the server will not take however often it is sent: too large, not
	// permitted, or of a subject that the stream leaves out.
	ErrRefused = errors.New("signals: refused")
	// ErrDisconnected means that NATS is away. The connection is made again by itself.
	ErrDisconnected = errors.New("signals: not connected")
	// ErrClosed means that [Publisher.Close] was called.
	ErrClosed = errors.New("signals: closed")
)

// Config is what a [Publisher] is made of.
type Config struct {
	// URL names the servers, "nats://[user:password@]host[:port]" or "tls://..." each, separated by commas.
	// One that is tls makes all of them so. Required.
	URL string
	// Name is what the server shows of this client; empty is [DefaultName].
	Name string
	// Logger gets one line when signals do not get through and one when they do again, and what is lost,
	// once a minute at most; no payloads and no credentials. nil logs nothing.
	Logger *slog.Logger
	// Buffer is how many signals are kept that JetStream has not acknowledged, the one under way included,
	// within [MaxBufferBytes]; 0 is [DefaultBuffer], and [MaxBuffer] the most.
	Buffer int
	// AckWait is how long one attempt to publish waits for JetStream; 0 is [DefaultAckWait].
	AckWait time.Duration
}

// Publisher publishes signals. Make one with [Connect]; it is safe for concurrent use.
type Publisher struct {
	cfg     Config
	log     *slog.Logger
	servers string
	queue   *queue
	flights flights
	dialer  *dialer
	link    atomic.Pointer[link]
	// prefix and the number of a buffered signal are its id.
	prefix string

	// news tells the worker of a signal, changed that it should look around.
	news, changed chan struct{}
	// lookDue says that the stream was not seen since something happened to it, or may have.
	lookDue atomic.Bool
	stream  streamReport

	fleetPublished, fleetFailed atomic.Uint64

	life context.Context //nolint:containedctx // It is the life of the publisher, not of a call.
	end  context.CancelFunc
	done chan struct{} // Closed when the worker has ended.

	mu     sync.Mutex
	closed bool           // GUARDED_BY(mu)
	calls  sync.WaitGroup // Calls of Fleet under way; Add only with mu held.

	closing  sync.Once
	closeErr error
}

// Connect starts a publisher. An error is a fault of the configuration: NATS that is away is tried again
// every two seconds for as long as it takes, and signals are buffered meanwhile. Connect waits for the
// first attempt, up to four seconds for each server that does not answer. The caller closes the publisher,
// after everything that has signals for it.
func Connect(cfg Config) (*Publisher, error) {
	cfg.Name = cmp.Or(cfg.Name, DefaultName)
	cfg.Buffer = cmp.Or(cfg.Buffer, DefaultBuffer)
	cfg.AckWait = cmp.Or(cfg.AckWait, DefaultAckWait)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	servers, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		cfg: cfg, log: cfg.Logger, servers: servers, queue: newQueue(cfg.Buffer, MaxBufferBytes),
		prefix: uuid.NewString() + "/", news: make(chan struct{}, 1), changed: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
	p.life, p.end = context.WithCancel(context.Background())
	p.dialer = &dialer{life: p.life}
	p.lookDue.Store(true)
	first, err := p.open()
	if err != nil {
		p.end()
		return nil, err
	}
	p.link.Store(first)
	go p.work()
	return p, nil
}

// Check reports everything that [Connect] would refuse of the configuration, and connects to nothing.
func (c Config) Check() error {
	_, err := c.validate()
	return err
}

func (c Config) validate() (servers string, err error) {
	var problems []error
	servers, err = parseServers(c.URL)
	problems = append(problems, err)
	if c.Buffer < 0 || c.Buffer > MaxBuffer {
		problems = append(problems, fmt.Errorf("signals: Buffer is %d, not within 0 and %d", c.Buffer, MaxBuffer))
	}
	if c.AckWait < 0 {
		problems = append(problems, errors.New("signals: AckWait is negative"))
	}
	return servers, errors.Join(problems...)
}

// Check says whether NATS is connected and the stream answers, by nil. It fits a dependency of the health
// report that is not required. A stream that it misses is created soon after.
func (p *Publisher) Check(ctx context.Context) error {
	l := p.link.Load()
	if err := l.connected(); err != nil {
		return err
	}
	if _, err := p.findStream(ctx, l); err != nil {
		if isMissing(err) {
			p.lookDue.Store(true)
			signalTo(p.changed)
		}
		return err
	}
	return nil
}

// Close takes no more signals, publishes those that are buffered, and waits for calls of
// [Publisher.Fleet], until ctx ends, and then closes the connection. The error says how many signals were
// lost. A further call waits for the first one and returns the same.
func (p *Publisher) Close(ctx context.Context) error {
	p.closing.Do(func() { p.closeErr = p.shutDown(ctx) })
	return p.closeErr
}

func (p *Publisher) shutDown(ctx context.Context) error {
	p.queue.close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	signalTo(p.changed)
	called := make(chan struct{})
	go func() {
		p.calls.Wait()
		close(called)
	}()
	for _, ended := range []chan struct{}{p.done, called} {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	// The client holds its lock while it talks to a server that does not answer: first the connection
	// goes, then the client.
	p.end()
	p.dialer.abort()
	<-p.done
	p.link.Load().nc.Close()
	if lost := p.queue.abandon(); lost > 0 {
		return fmt.Errorf("signals: %d buffered signals are lost: %w", lost, context.Cause(ctx))
	}
	return nil
}

// signalTo wakes whoever waits for c, or will.
func signalTo(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
