package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"dixie/internal/chat"
)

const (
	// eventChannel and a session's id are the channel of its events.
	eventChannel = "chat:events:"
	// watchChannel is where the processes tell each other which sessions they watch.
	watchChannel = "chat:watch"
	// originSize is the length of the name of a process that goes before each message.
	originSize = 26
)

// Relay is a dixie.TurnRelay over Pub/Sub. It has one connection of its own for what comes in, which it makes
// anew when it is lost; what goes out takes the client's pool. Messages that are published while either
// side is cut off are lost; when a connection is back, what is watched over it is announced again.
//
// The server counts the connections that watch a session: with Redis Cluster, which counts those of one
// node, a relay does not work. Give the client ContextTimeoutEnabled, or calls may outlast their contexts.
//
// Make one with [NewRelay] and close it. It is safe for concurrent use.
type Relay struct {
	client goredis.UniversalClient
	logger *slog.Logger
	// origin tells this process's messages from those of others.
	origin string

	life       context.Context //nolint:containedctx // It is the life of the relay, not of a call.
	end        context.CancelFunc
	background sync.WaitGroup
	// steer, speak and missed have room for one signal: that subscriptions are to change, that there is
	// something to announce, that something was not published or counted.
	steer, speak, missed chan struct{}

	mu       sync.Mutex
	channels map[string]*channel    // GUARDED_BY(mu); by session
	notified map[*notification]bool // GUARDED_BY(mu)
	// unannounced are the sessions whose watch others are to be told of.
	unannounced map[string]bool // GUARDED_BY(mu)
	// asking says that others are to announce what they watch, since their words may have been missed.
	asking bool // GUARDED_BY(mu)
	broken bool // GUARDED_BY(mu); the connection has failed and is not back
}

var _ chat.Relay = (*Relay)(nil)

// notification is one caller of OnWatch.
type notification struct{ notify func(sessionID string) }

// channel is a session that this process watches, or did. One command at a time is under way for it.
type channel struct {
	watchers []*watcher
	state    state
	// turns counts the changes of state.
	turns int
	// ready is closed while state is subscribed.
	ready chan struct{}
}

type watcher struct{ deliver func(message []byte) }

type state int

const (
	absent state = iota
	subscribing
	subscribed
	unsubscribing
)

func (c *channel) become(s state) {
	if c.state == subscribed {
		c.ready = make(chan struct{})
	}
	if s == subscribed {
		close(c.ready)
	}
	c.state = s
	c.turns++
}

// NewRelay makes a relay over client, which stays the caller's. A nil logger discards: it is told when the
// connection is lost and when it is back.
func NewRelay(client goredis.UniversalClient, logger *slog.Logger) *Relay {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &Relay{
		client: client, logger: logger, origin: rand.Text(),
		steer: make(chan struct{}, 1), speak: make(chan struct{}, 1), missed: make(chan struct{}, 1),
		channels: make(map[string]*channel), notified: make(map[*notification]bool), unannounced: make(map[string]bool),
	}
	r.life, r.end = context.WithCancel(context.Background())
	r.background.Go(r.listen)
	r.background.Go(r.announce)
	r.background.Go(r.askAgain)
	return r
}

// Close ends the connection and returns when nothing is delivered any more. It is idempotent and always
// returns nil.
func (r *Relay) Close() error {
	r.end()
	r.background.Wait()
	return nil
}

// Watch implements dixie.TurnRelay.
func (r *Relay) Watch(ctx context.Context, sessionID string, deliver func(message []byte)) (func(), error) {
	w := &watcher{deliver: deliver}
	r.mu.Lock()
	c := r.channels[sessionID]
	if c == nil {
		c = &channel{ready: make(chan struct{})}
		r.channels[sessionID] = c
	}
	c.watchers = append(c.watchers, w)
	if c.state == subscribed {
		r.unannounced[sessionID] = true
		signal(r.speak)
	}
	ready := c.ready
	r.mu.Unlock()
	signal(r.steer)

	stop := func() { r.unwatch(sessionID, w) }
	select {
	case <-ready:
		return stop, nil
	case <-ctx.Done():
		return stop, fmt.Errorf("redis: watch a session: %w", context.Cause(ctx))
	case <-r.life.Done():
		return stop, errClosed
	}
}

var errClosed = errors.New("redis: relay is closed")

func (r *Relay) unwatch(sessionID string, w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.channels[sessionID]
	if c == nil {
		return
	}
	// A copy: the old one may be in use.
	left := make([]*watcher, 0, len(c.watchers))
	for _, other := range c.watchers {
		if other != w {
			left = append(left, other)
		}
	}
	c.watchers = left
	if len(left) == 0 && c.state == absent {
		// While there is no connection, nobody else would take it away.
		delete(r.channels, sessionID)
		return
	}
	signal(r.steer)
}

// Publish implements dixie.TurnRelay. What the client refuses to send is tried again while the connection of
// the relay holds: it has noticed before the client that the server is back, and so may those have who wait
// for the message.
func (r *Relay) Publish(ctx context.Context, sessionID string, message []byte) (int, error) {
	for {
		own := r.own(sessionID)
		publish := once{goredis.NewIntCmd(ctx, "publish", eventChannel+sessionID, append([]byte(r.origin), message...))}
		err := r.client.Process(ctx, publish)
		switch {
		case err == nil:
			return max(0, int(publish.Val())-own()), nil
		case !errors.Is(err, ErrUnavailable) || !r.holds() || !r.pause(refusedPause) || ctx.Err() != nil:
			signal(r.missed)
			return 0, fmt.Errorf("redis: publish: %w", err)
		}
	}
}

// refusedPause is between two attempts to publish what the client refuses to send.
const refusedPause = 100 * time.Millisecond

// holds says that the relay's own connection works, as far as is known.
func (r *Relay) holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.broken
}

// once is a command that must not be sent again when its answer is lost.
type once struct{ *goredis.IntCmd }

// NoRetry says so.
func (once) NoRetry() bool { return true }

// Watchers implements dixie.TurnRelay.
func (r *Relay) Watchers(ctx context.Context, sessionID string) (int, error) {
	own := r.own(sessionID)
	counts, err := r.client.PubSubNumSub(ctx, eventChannel+sessionID).Result()
	if err != nil {
		signal(r.missed)
		return 0, fmt.Errorf("redis: count watchers: %w", err)
	}
	return max(0, int(counts[eventChannel+sessionID])-own()), nil
}

// own is for a command that counts the watchers of a session, to be called before it and its result after
// it: 1 when this process is certainly one of those that were counted, else 0.
func (r *Relay) own(sessionID string) func() int {
	at := func() (*channel, int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if c := r.channels[sessionID]; c != nil && c.state == subscribed {
			return c, c.turns
		}
		return nil, 0
	}
	before, turns := at()
	return func() int {
		if after, now := at(); before != nil && after == before && now == turns {
			return 1
		}
		return 0
	}
}

// OnWatch implements dixie.TurnRelay.
func (r *Relay) OnWatch(notify func(sessionID string)) func() {
	n := &notification{notify}
	r.mu.Lock()
	r.notified[n] = true
	r.mu.Unlock()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.notified, n)
	}
}

// signal wakes who waits for c, without waiting.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits, unless the relay ends first.
func (r *Relay) pause(d time.Duration) (alive bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.life.Done():
		return false
	}
}
