package chat

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"dixie/spansanitizer"
)

const (
	// watchLimit bounds how long a subscription waits for the relay, askLimit how long a turn does.
	watchLimit = time.Second
	askLimit   = 300 * time.Millisecond
)

// Relay carries the events of turns between processes. It is best effort: a message that is lost stays
// lost. It is safe for concurrent use, and its methods heed their context.
type Relay interface {
	// Watch has the messages that other processes publish on the session from now on delivered, each
	// publisher's in order, until stop is called. It returns when they arrive, or with an error; also after
	// an error they arrive once the relay works (again), until stop is called. A session may be watched
	// several times at once. deliver does not block and does not keep the message; it may be called until
	// shortly after stop, which does not wait and may be called more than once.
	Watch(ctx context.Context, sessionID string, deliver func(message []byte)) (stop func(), err error)
	// Publish sends a message once to the other processes that watch the session, and returns how many
	// there are: rather too many than too few.
	Publish(ctx context.Context, sessionID string, message []byte) (watchers int, err error)
	// Watchers returns how many other processes watch the session: rather too many than too few.
	Watchers(ctx context.Context, sessionID string) (int, error)
	// OnWatch has notify called whenever another process has begun to watch a session, or may have, until
	// stop is called; and after a Publish or Watchers that failed, for every session that others watch, once
	// the relay works again. What is published from then on reaches that process. notify does not block; it
	// may be called until shortly after stop, which does not wait and may be called more than once.
	OnWatch(notify func(sessionID string)) (stop func())
}

// bridge joins the hub to those of other processes. Towards them a pump per session, which is a reader in
// the hub, publishes what it reads; from them events come for the clients of this process alone.
type bridge struct {
	relay  Relay
	hub    *hub
	spawn  func(func()) bool
	life   context.Context //nolint:containedctx // It is the life of the service, not of a request.
	logger *slog.Logger
	// name tells this process's messages from those of others.
	name string
	stop func() // Ends the announcements.
	// publishing has room for as many messages as may be under way.
	publishing chan struct{}
	// down says that the relay failed last, garbled that a message was no event.
	down, garbled atomic.Bool

	// mu is taken before the hub's lock, never the other way round.
	mu      sync.Mutex
	closed  bool              // GUARDED_BY(mu)
	turns   map[string]int    // GUARDED_BY(mu); that run here, by session
	pumps   map[string]*pump  // GUARDED_BY(mu)
	watches map[string]*watch // GUARDED_BY(mu)
}

// watch is what this process has of a session's events elsewhere, for all its clients together.
type watch struct {
	readers int    // GUARDED_BY(bridge.mu)
	over    bool   // GUARDED_BY(bridge.mu)
	stop    func() // GUARDED_BY(bridge.mu); nil until the relay has answered
	// ready is closed when the relay has answered.
	ready chan struct{}
	// from and id are what was delivered last.
	from string // GUARDED_BY(bridge.mu)
	id   uint64 // GUARDED_BY(bridge.mu)
}

// repeats says whether a message was delivered before, and books it. A process repeats the event whose
// publication seemed to fail.
func (w *watch) repeats(m relayed) bool {
	if m.from != "" && m.from == w.from && m.id <= w.id {
		return true
	}
	w.from, w.id = m.from, m.id
	return false
}

func newBridge(relay Relay, s *Service) *bridge {
	b := &bridge{
		relay: relay, hub: s.hub, spawn: s.spawn, life: s.life, logger: s.logger, name: rand.Text(),
		publishing: make(chan struct{}, maxPublishing),
		turns:      make(map[string]int), pumps: make(map[string]*pump), watches: make(map[string]*watch),
	}
	b.stop = relay.OnWatch(b.watched)
	return b
}

// join sees that the session's events elsewhere come to this process until sub is closed. It returns when
// they do, or when they cannot be had soon.
func (b *bridge) join(ctx context.Context, sub *Subscription) {
	sessionID := sub.record.id
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	w := b.watches[sessionID]
	first := w == nil
	if first {
		w = &watch{ready: make(chan struct{})}
		b.watches[sessionID] = w
	}
	w.readers++
	b.mu.Unlock()
	b.hub.mu.Lock()
	sub.left = func() { b.leave(sessionID, w) }
	b.hub.mu.Unlock()
	if first {
		b.begin(ctx, sessionID, w)
		return
	}
	select {
	case <-w.ready:
	case <-ctx.Done():
	}
}

// begin asks the relay, for every reader that comes meanwhile: it goes on when the first one leaves.
//
//nolint:contextcheck // See above.
func (b *bridge) begin(ctx context.Context, sessionID string, w *watch) {
	limited, cancel := context.WithTimeout(lifelong{b.life, ctx}, watchLimit)
	defer cancel()
	stop, err := b.relay.Watch(limited, sessionID, func(message []byte) { b.deliver(sessionID, w, message) })
	b.note(ctx, err)
	b.mu.Lock()
	w.stop = stop
	over := w.over
	b.mu.Unlock()
	close(w.ready)
	if over && stop != nil {
		stop()
	}
}

// leave takes one reader off.
func (b *bridge) leave(sessionID string, w *watch) {
	b.mu.Lock()
	w.readers--
	if w.readers > 0 || w.over {
		b.mu.Unlock()
		return
	}
	w.over = true
	delete(b.watches, sessionID)
	stop := w.stop
	b.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// deliver takes a message that another process has published.
func (b *bridge) deliver(sessionID string, w *watch, message []byte) {
	m, err := decode(message)
	if err != nil {
		if b.garbled.CompareAndSwap(false, true) {
			b.logger.WarnContext(b.life, "chat relay brought what is no event; said once", "error", spansanitizer.TextOf(err))
		}
		return
	}
	b.mu.Lock()
	drop := w.over || w.repeats(m)
	b.mu.Unlock()
	// An unknown event is one of a newer version.
	if m.payload != nil && !drop {
		b.hub.pass(sessionID, m.payload)
	}
}

// turn says that a turn of the session begins here, and returns the function that says it is over. With
// ask, the turn has a pump from its first event on if somebody watches elsewhere.
//
//nolint:contextcheck // A pump lives as long as the service may.
func (b *bridge) turn(ctx context.Context, sessionID string, ask bool) (over func()) {
	b.mu.Lock()
	b.turns[sessionID]++
	ask = ask && !b.closed && b.pumps[sessionID] == nil
	b.mu.Unlock()
	if ask {
		limited, cancel := context.WithTimeout(ctx, askLimit)
		watchers, err := b.relay.Watchers(limited, sessionID)
		cancel()
		b.note(ctx, err)
		if err == nil && watchers > 0 {
			b.mu.Lock()
			b.start(sessionID)
			b.mu.Unlock()
		}
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.turns[sessionID]--
		if b.turns[sessionID] == 0 {
			delete(b.turns, sessionID)
		}
		if p := b.pumps[sessionID]; p != nil {
			p.sub.signal()
		}
	}
}

// note logs once when the relay fails and once when it works again. A caller that has left says nothing
// about the relay.
func (b *bridge) note(ctx context.Context, err error) {
	switch {
	case err == nil:
		if b.down.CompareAndSwap(true, false) {
			b.logger.InfoContext(ctx, "chat relay works again")
		}
	case b.life.Err() != nil, ctx.Err() != nil && errors.Is(err, context.Canceled):
	case b.down.CompareAndSwap(false, true):
		b.logger.WarnContext(ctx, "chat relay failed: clients at other processes miss events", "error", spansanitizer.TextOf(err))
	}
}

// close ends the watches. The pumps end with the hub.
func (b *bridge) close() {
	b.stop()
	b.mu.Lock()
	b.closed = true
	var stops []func()
	for _, w := range b.watches {
		w.over = true
		if w.stop != nil {
			stops = append(stops, w.stop)
		}
	}
	clear(b.watches)
	b.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
}
