package chat

import (
	"container/list"
	"sync"
	"time"
)

const (
	keptEvents   = 200
	keptBytes    = 1 << 20
	keptFor      = 5 * time.Minute
	keptSessions = 10_000
	keptInAll    = 64 << 20
	// subscriberQueue is how many events a listener may be behind before it is dropped.
	subscriberQueue = 512
)

// hub hands events to listeners and keeps those that nobody has taken: 200 events or 1 MiB and five
// minutes for a session, 10,000 sessions and 64 MiB in all; the oldest go first. Every event goes to
// the listeners of its time, or else once to the next one.
type hub struct {
	mu     sync.Mutex
	boxes  map[string]*box // GUARDED_BY(mu)
	order  list.List       // GUARDED_BY(mu); *box, the longest untouched in front
	bytes  int             // GUARDED_BY(mu)
	closed bool            // GUARDED_BY(mu)
}

// box is what the hub knows of one session.
type box struct {
	session   string
	place     *list.Element
	lastID    uint64
	kept      []Event
	bytes     int
	touched   time.Time
	listeners map[*Subscription]struct{}
}

func newHub() *hub { return &hub{boxes: make(map[string]*box)} }

// Subscription is a listener to one session.
type Subscription struct {
	hub    *hub
	box    *box
	events chan Event
	gone   bool // guarded by hub.mu
}

// Events yields each event once, in order. It is closed when the listener falls too far behind or the
// service ends.
func (s *Subscription) Events() <-chan Event { return s.events }

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.end()
}

// end is called with the hub's lock held.
func (s *Subscription) end() {
	if !s.gone {
		s.gone = true
		delete(s.box.listeners, s)
		close(s.events)
	}
}

// touch finds or makes the box, moves it to the end and lets go of what is too old or too much. The
// caller holds the lock.
func (h *hub) touch(session string) *box {
	now := time.Now()
	b, ok := h.boxes[session]
	if ok {
		h.order.MoveToBack(b.place)
	} else {
		b = &box{session: session, listeners: make(map[*Subscription]struct{})}
		b.place = h.order.PushBack(b)
		h.boxes[session] = b
	}
	if now.Sub(b.touched) > keptFor {
		h.forget(b)
	}
	b.touched = now
	for e := h.order.Front(); e != nil; {
		old, next := e.Value.(*box), e.Next() //nolint:forcetypeassert,errcheck // The list holds nothing else.
		stale := now.Sub(old.touched) > keptFor
		if old == b || !stale && len(h.boxes) <= keptSessions && h.bytes <= keptInAll {
			break
		}
		h.forget(old)
		if len(old.listeners) == 0 {
			h.order.Remove(e)
			delete(h.boxes, old.session)
		}
		e = next
	}
	return b
}

func (h *hub) forget(b *box) {
	h.bytes -= b.bytes
	b.kept, b.bytes = nil, 0
}

// next makes the session's next event.
func (h *hub) next(session, kind string, data any) Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.touch(session)
	b.lastID++
	return Event{ID: b.lastID, Type: kind, Data: data}
}

// publish hands the event to who listens, or keeps it for who comes next. It never waits: a listener
// that cannot keep up is dropped.
func (h *hub) publish(session string, e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	b := h.touch(session)
	taken := false
	for s := range b.listeners {
		select {
		case s.events <- e:
			taken = true
		default:
			s.end()
		}
	}
	if taken {
		return
	}
	b.kept = append(b.kept, e)
	b.bytes += e.size()
	h.bytes += e.size()
	// The last event is always kept: it is the one that carries the whole text.
	for len(b.kept) > 1 && (len(b.kept) > keptEvents || b.bytes > keptBytes) {
		dropped := b.kept[0].size()
		b.kept = b.kept[1:]
		b.bytes -= dropped
		h.bytes -= dropped
	}
}

func (h *hub) listened(session string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, ok := h.boxes[session]
	return ok && len(b.listeners) > 0
}

// attach hands over what was kept and adds a listener.
func (h *hub) attach(session string) *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.touch(session)
	s := &Subscription{hub: h, box: b, events: make(chan Event, max(subscriberQueue, len(b.kept)))}
	for _, e := range b.kept {
		s.events <- e
	}
	h.forget(b)
	b.listeners[s] = struct{}{}
	if h.closed {
		s.end()
	}
	return s
}

// close ends every subscription, and those to come.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, b := range h.boxes {
		for s := range b.listeners {
			s.end()
		}
	}
}
