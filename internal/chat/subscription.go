package chat

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Subscription is one reader of a session's events. [Subscription.Next] is for one goroutine at a time;
// [Subscription.Close] may be called from any. Whoever attached it closes it.
type Subscription struct {
	hub    *hub
	record *record
	owner  string
	// wake has room for one signal, so that the publisher never waits.
	wake chan struct{}
	// attachedAt is the hub's clock when the subscription began.
	attachedAt uint64
	// pump says that it carries the events to other processes.
	pump bool

	// GUARDED_BY(hub.mu): the rest.

	// left is called once, without the lock, when the subscription is closed; nil: nobody is told.
	left func()

	// position is the last event handed out.
	position uint64
	// pending is the last event handed out while the reader has not come back for the next, else 0.
	pending uint64
	// ended is why there is nothing more; nil while there may be.
	ended error
}

// attach begins a subscription of owner, whose the session must be.
func (h *hub) attach(owner, sessionID string) (*Subscription, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if h.readers >= maxReaders || h.owners[owner] >= maxOwnerReaders {
		return nil, ErrTooManyReaders
	}
	s := h.join(sessionID, &Subscription{owner: owner})
	h.readers++
	h.owners[owner]++
	if r := s.record; r.clients() > maxSessionReaders {
		oldest := slices.IndexFunc(r.readers, func(s *Subscription) bool { return !s.pump })
		h.detach(r, r.readers[oldest], ErrDisplaced)
	}
	return s, nil
}

// attachPump begins the subscription of a pump. It counts for nobody, and no reader displaces it.
func (h *hub) attachPump(sessionID string) (*Subscription, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	s := h.join(sessionID, &Subscription{pump: true})
	s.record.pumps++
	return s, nil
}

// join completes s and makes it a reader of the session.
func (h *hub) join(sessionID string, s *Subscription) *Subscription {
	r := h.current(sessionID, time.Now())
	if r == nil {
		r = h.open(sessionID)
	}
	s.hub, s.record, s.wake, s.attachedAt = h, r, make(chan struct{}, 1), h.clock.Add(1)
	r.readers = append(r.readers, s)
	return s
}

// Next returns the next event and waits for it if need be. Asking for the next one says that the one
// before has arrived: only then it counts as taken. It fails with the cause of ctx, and once the
// subscription has ended with [ErrSlowReader], [ErrDisplaced] or [ErrClosed].
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		e, ok, err := s.poll()
		if ok || err != nil {
			return e, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		}
	}
}

// poll confirms the event handed out before and hands out the next, if there is one.
func (s *Subscription) poll() (Event, bool, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.ended != nil {
		return Event{}, false, s.ended
	}
	if s.pending != 0 {
		s.confirm()
	}
	from, _ := slices.BinarySearchFunc(s.record.log, s.position+1, func(e entry, id uint64) int {
		return cmp.Compare(e.event.ID, id)
	})
	for i := from; i < len(s.record.log); i++ {
		if e := &s.record.log[i]; s.wants(e) {
			s.position, s.pending = e.event.ID, e.event.ID
			return e.event, true, nil
		}
	}
	if from < len(s.record.log) {
		// What is not for this reader must not be kept for it.
		s.position = s.record.last
		h.trim(s.record)
	}
	return Event{}, false, nil
}

// confirm books the pending event as taken.
func (s *Subscription) confirm() {
	log := s.record.log
	i, found := slices.BinarySearchFunc(log, s.pending, func(e entry, id uint64) int {
		return cmp.Compare(e.event.ID, id)
	})
	s.pending = 0
	if found && log[i].takenAt == 0 {
		log[i].takenAt = s.hub.clock.Add(1)
		s.record.taken++
	}
	s.hub.trim(s.record)
}

// wants reports whether the subscription has yet to hand out e. The hub's lock is held.
func (s *Subscription) wants(e *entry) bool {
	if s.pump && e.relayed {
		return false
	}
	return e.event.ID > s.position && (e.takenAt == 0 || e.takenAt > s.attachedAt)
}

// Close ends the subscription. The event handed out last, unless Next has been called since, and those
// not handed out go to the next reader, unless another one took them. It is idempotent.
func (s *Subscription) Close() {
	h := s.hub
	h.mu.Lock()
	if s.ended == nil {
		h.detach(s.record, s, ErrClosed)
		h.trim(s.record)
	}
	left := s.left
	s.left = nil
	h.mu.Unlock()
	if left != nil {
		left()
	}
}

// detach ends a subscription. The hub's lock is held; the caller trims.
func (h *hub) detach(r *record, s *Subscription, why error) {
	if at := slices.Index(r.readers, s); at >= 0 {
		r.readers = slices.Delete(r.readers, at, at+1)
		h.uncount(s)
	}
	s.ended = why
	s.signal()
}

// uncount takes a reader off the bounds that it counted for.
func (h *hub) uncount(s *Subscription) {
	if s.pump {
		s.record.pumps--
		return
	}
	h.readers--
	h.owners[s.owner]--
	if h.owners[s.owner] == 0 {
		delete(h.owners, s.owner)
	}
}

// signal wakes a reader that waits.
func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
