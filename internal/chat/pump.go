package chat

import (
	"context"
	"time"

	"dixie/spansanitizer"
)

const (
	// publishLimit bounds the publication of one event.
	publishLimit = 2 * time.Second
	// maxPublishing bounds the events that all pumps together publish at the same time, so that slow ones
	// leave connections to sign-in and limits.
	maxPublishing = 8
)

// pump carries the events of a session to other processes, at their pace: it never holds up a turn. There
// is one while somebody watches elsewhere and there are events, or a turn runs here. It counts as a reader,
// so that a turn is streamed for it, and what it has published counts as taken.
type pump struct {
	sessionID string
	sub       *Subscription
	// announced says that another process has begun to watch since the event under way was published last.
	announced bool // GUARDED_BY(bridge.mu)
}

// watched is told that another process has begun to watch a session.
func (b *bridge) watched(sessionID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.pumps[sessionID]; p != nil {
		p.announced = true
		return
	}
	if b.turns[sessionID] > 0 || b.hub.waits(sessionID) {
		b.start(sessionID)
	}
}

// start begins the pump of a session if there is none. b.mu is held.
func (b *bridge) start(sessionID string) {
	if b.closed || b.pumps[sessionID] != nil {
		return
	}
	sub, err := b.hub.attachPump(sessionID)
	if err != nil {
		return // The service has been closed.
	}
	p := &pump{sessionID: sessionID, sub: sub}
	b.pumps[sessionID] = p
	if !b.spawn(func() { b.run(p) }) {
		b.end(p)
	}
}

// end takes a pump away. What it has not published is held for the next reader. b.mu is held.
func (b *bridge) end(p *pump) {
	delete(b.pumps, p.sessionID)
	p.sub.Close()
}

// run publishes until there is nobody to publish for, or nothing more to come.
func (b *bridge) run(p *pump) {
	for {
		e, ok, err := p.sub.poll()
		switch {
		case err != nil:
			b.quit(p)
			return
		case ok:
			if !b.send(p, e) {
				return
			}
			continue
		}
		// What a turn has published since the poll has left a signal, as has the turn's end.
		more := func() bool { return b.turns[p.sessionID] > 0 || len(p.sub.wake) > 0 }
		if b.quitUnless(more, p) {
			return
		}
		select {
		case <-p.sub.wake:
		case <-b.life.Done():
			b.quit(p)
			return
		}
	}
}

func (b *bridge) quit(p *pump) { b.quitUnless(func() bool { return false }, p) }

// quitUnless ends a pump, unless needed, which is called with b.mu held, says that it must go on.
func (b *bridge) quitUnless(needed func() bool, p *pump) (ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if needed() {
		return false
	}
	b.end(p)
	return true
}

// send publishes an event. When it reaches nobody, the pump ends and the event counts as not taken.
func (b *bridge) send(p *pump, e Event) (reached bool) {
	message, err := encode(b.name, e)
	if err != nil {
		// Stopping here would keep back all that follows.
		b.logger.WarnContext(b.life, "chat event not relayed", "event_type", e.Payload.Type(), "error", spansanitizer.TextOf(err))
		return true
	}
	for {
		b.mu.Lock()
		p.announced = false
		b.mu.Unlock()
		watchers, err := b.publish(p.sessionID, message)
		if err == nil && watchers > 0 {
			return true
		}
		// Who came while the event was under way may have missed it.
		if b.quitUnless(func() bool { return p.announced && b.life.Err() == nil }, p) {
			return false
		}
	}
}

// publish gives a message to the relay.
func (b *bridge) publish(sessionID string, message []byte) (watchers int, err error) {
	select {
	case b.publishing <- struct{}{}:
	case <-b.life.Done():
		return 0, ErrClosed
	}
	defer func() { <-b.publishing }()
	limited, cancel := context.WithTimeout(b.life, publishLimit)
	defer cancel()
	watchers, err = b.relay.Publish(limited, sessionID, message)
	b.note(b.life, err)
	return watchers, err
}
