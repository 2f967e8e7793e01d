package chat

import (
	"container/list"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxHeld and maxHeldBytes bound the events that are held for one session. One event that is larger
	// than the bound by itself is still held, alone.
	maxHeld      = 200
	maxHeldBytes = 1 << 20
	// keepHeld is how long an event waits for a reader.
	keepHeld = 5 * time.Minute
	// maxSessionsHeld and maxTotalBytes bound what is held for all sessions together. The sessions whose
	// last event is oldest go first.
	maxSessionsHeld = 10_000
	maxTotalBytes   = 64 << 20
	// maxSessionReaders bounds the subscriptions of a session, maxOwnerReaders those of an owner, so that
	// nobody can crowd out the others alone, and maxReaders those of all.
	maxSessionReaders = 64
	maxOwnerReaders   = 1000
	maxReaders        = 10_000
	// smallLog is how much of an empty log is kept while there are readers.
	smallLog = 16
	// eventOverhead is about what an event costs besides its texts.
	eventOverhead = 160
)

// hub holds events until a reader has taken them. Each session with events or readers has one log, and
// readers have a position in it instead of queues of their own: what waits for a slow reader and what
// waits for the next one is the same memory under the same bounds, and publishing never waits.
type hub struct {
	// clock orders everything that happens: events, attachments, takings. It is not behind the time of day,
	// in microseconds, when the hub or a turn begins: so the ids of a session keep growing past a restart,
	// and when its turns move between processes whose clocks agree to within the length of a turn.
	clock atomic.Uint64

	mu       sync.Mutex
	closed   bool               // GUARDED_BY(mu)
	sessions map[string]*record // GUARDED_BY(mu)
	held     *list.List         // GUARDED_BY(mu); of *record with events, last event newest first
	bytes    int                // GUARDED_BY(mu); in all logs
	readers  int                // GUARDED_BY(mu)
	owners   map[string]int     // GUARDED_BY(mu); how many of the readers each has
	sweeper  *time.Timer        // GUARDED_BY(mu); not nil while anything is held
}

// record is what is known of one session. It belongs to the hub and is guarded by its lock.
type record struct {
	id    string
	log   []entry // Oldest first, ids ascending.
	bytes int
	// last is the highest id that log has had.
	last uint64
	// taken is how many entries of log were taken: without one there is nothing to trim.
	taken   int
	place   *list.Element // In hub.held while log is not empty.
	readers []*Subscription
	// pumps is how many of readers are pumps, which carry events to other processes: one or none.
	pumps int
}

// clients is how many readers are clients of this process.
func (r *record) clients() int { return len(r.readers) - r.pumps }

// entry is an event that someone may still want.
type entry struct {
	event Event
	worth int8 // By the kind of event; see worthFor.
	// relayed says that another process sent it: pumps leave it alone.
	relayed bool
	size    int
	at      time.Time
	// takenAt is the clock when the first reader was done with it, 0 before. Readers that attach later
	// do not get it; those that were there do.
	takenAt uint64
}

func newHub() *hub {
	h := &hub{sessions: make(map[string]*record), owners: make(map[string]int), held: list.New()}
	h.catchUp(time.Now())
	return h
}

// catchUp puts the clock forward to now, never back.
func (h *hub) catchUp(now time.Time) {
	at := uint64(max(0, now.UnixMicro()))
	for {
		last := h.clock.Load()
		if last >= at || h.clock.CompareAndSwap(last, at) {
			return
		}
	}
}

// next returns the id of a new event.
func (h *hub) next() uint64 { return h.clock.Add(1) }

// hasReaders reports whether someone is subscribed to the session now.
func (h *hub) hasReaders(sessionID string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.sessions[sessionID]
	return r != nil && len(r.readers) > 0
}

// waits reports whether the session has events that nobody has taken.
func (h *hub) waits(sessionID string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.current(sessionID, time.Now())
	return r != nil && r.taken < len(r.log)
}

// publish hands e to the session's readers and, unless taken says that someone else has got it already,
// holds it for the next one when there is none. The events of a turn must come in the order of their ids.
func (h *hub) publish(e Event, taken bool) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.current(e.SessionID, now)
	if h.closed || taken && (r == nil || len(r.readers) == 0) {
		return
	}
	if r == nil {
		r = h.open(e.SessionID)
	}
	h.add(r, &entry{event: e, at: now}, taken)
}

// pass hands what another process has sent to the session's clients here, if there are any.
func (h *hub) pass(sessionID string, p Payload) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.current(sessionID, now)
	if h.closed || r == nil || r.clients() == 0 {
		return
	}
	h.add(r, &entry{event: Event{ID: h.next(), SessionID: sessionID, Payload: p}, at: now, relayed: true}, true)
}

// add appends to the log of a session, keeps the bounds and wakes the readers.
func (h *hub) add(r *record, added *entry, taken bool) {
	p := added.event.Payload
	added.worth, added.size = worthOf(p), p.size()+eventOverhead
	if added.event.ID <= r.last {
		// What another process has sent was faster than a turn of this one.
		added.event.ID = h.next()
	}
	r.last = added.event.ID
	if taken {
		added.takenAt = h.clock.Add(1)
		r.taken++
	}
	r.log = append(r.log, *added)
	r.bytes += added.size
	h.bytes += added.size
	if r.place == nil {
		r.place = h.held.PushFront(r)
	} else {
		h.held.MoveToFront(r.place)
	}
	for len(r.log) > 1 && (len(r.log) > maxHeld || r.bytes > maxHeldBytes) {
		h.discard(r, r.victim())
		h.trim(r)
	}
	h.evict(r)
	if h.sweeper == nil {
		h.sweeper = time.AfterFunc(keepHeld, h.sweep)
	}
	for _, s := range r.readers {
		s.signal()
	}
}

// current returns the record of a session without events that have waited too long, or nil.
func (h *hub) current(sessionID string, now time.Time) *record {
	r := h.sessions[sessionID]
	if r == nil || len(r.log) == 0 || now.Sub(r.log[0].at) < keepHeld {
		return r
	}
	for len(r.log) > 0 && now.Sub(r.log[0].at) >= keepHeld {
		h.discard(r, 0)
	}
	h.trim(r)
	return h.sessions[sessionID]
}

func (h *hub) open(sessionID string) *record {
	r := &record{id: sessionID}
	h.sessions[sessionID] = r
	return r
}

// evict keeps the bounds over all sessions. The session that got the newest event stays.
func (h *hub) evict(newest *record) {
	for h.held.Len() > maxSessionsHeld || h.bytes > maxTotalBytes {
		oldest, ok := h.held.Back().Value.(*record)
		if !ok || oldest == newest {
			return
		}
		h.discardAll(oldest)
	}
}

// sweep drops what nobody came for, and comes again while something is held.
func (h *hub) sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweeper = nil
	if h.closed {
		return
	}
	now := time.Now()
	for h.held.Len() > 0 {
		oldest, ok := h.held.Back().Value.(*record)
		if !ok {
			return
		}
		newest := oldest.log[len(oldest.log)-1].at
		if now.Sub(newest) < keepHeld {
			h.sweeper = time.AfterFunc(newest.Add(keepHeld).Sub(now), h.sweep)
			return
		}
		h.discardAll(oldest)
	}
}

// discardAll drops the events of a session.
func (h *hub) discardAll(r *record) {
	for len(r.log) > 0 {
		h.discard(r, len(r.log)-1)
	}
	h.trim(r)
}

// discard drops one event. A reader that was there when it was published and has not got to it is too
// slow, and is dropped as well: it would show a text with a hole. A pump only loses the event: its readers
// cannot be told, and the end of the turn repeats the text.
func (h *hub) discard(r *record, at int) {
	victim := r.log[at]
	r.log = slices.Delete(r.log, at, at+1)
	r.bytes -= victim.size
	h.bytes -= victim.size
	if victim.takenAt != 0 {
		r.taken--
	}
	// Backwards, since those that are dropped leave the slice.
	for _, s := range slices.Backward(r.readers) {
		if !s.pump && s.wants(&victim) && victim.event.ID > s.attachedAt {
			h.detach(r, s, ErrSlowReader)
		}
	}
}

// victim is the event that is missed least. The newest stays.
func (r *record) victim() int {
	// Up to here, nobody who is attached counts as slow for not having read an event.
	lenient := ^uint64(0)
	for _, s := range r.readers {
		lenient = min(lenient, max(s.attachedAt, s.position))
	}
	lowest := int8(worthTaken)
	if r.taken == 0 {
		lowest = worthChunk
	}
	best, least := 0, r.log[0].worthFor(lenient)
	for i := 1; i < len(r.log)-1 && least > lowest; i++ {
		if worth := r.log[i].worthFor(lenient); worth < least {
			best, least = i, worth
		}
	}
	return best
}

// What events are worth to victim: first goes what only waits for a reader that lags behind another; then
// chunks, whose text the end of their turn repeats, and what else comes before that end, both rather from
// a backlog than from under a reader that is attached; the ends go last.
const (
	worthTaken = iota
	worthChunk
	worthOther
	worthChunkRead
	worthOtherRead
	worthEnd
)

// worthOf is what an event of a backlog is worth.
func worthOf(p Payload) int8 {
	switch p.(type) {
	case Chunk:
		return worthChunk
	case Done, Failure:
		return worthEnd
	default:
		return worthOther
	}
}

func (e *entry) worthFor(lenient uint64) int8 {
	switch {
	case e.takenAt != 0:
		return worthTaken
	case e.event.ID <= lenient || e.worth == worthEnd:
		return e.worth
	default:
		return e.worth + worthChunkRead - worthChunk
	}
}

// trim drops the events that every reader who may want them has passed, and forgets a session that has
// neither events nor readers.
func (h *hub) trim(r *record) {
	if r.taken > 0 {
		passed := ^uint64(0)
		for _, s := range r.readers {
			passed = min(passed, s.position)
		}
		r.log = slices.DeleteFunc(r.log, func(e entry) bool {
			if e.takenAt == 0 || e.event.ID > passed {
				return false
			}
			r.bytes -= e.size
			h.bytes -= e.size
			r.taken--
			return true
		})
	}
	if len(r.log) > 0 {
		return
	}
	if cap(r.log) > smallLog {
		r.log = nil
	}
	if r.place != nil {
		h.held.Remove(r.place)
		r.place = nil
	}
	if len(r.readers) == 0 {
		delete(h.sessions, r.id)
	}
}

// close ends every subscription and drops everything.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.sweeper != nil {
		h.sweeper.Stop()
		h.sweeper = nil
	}
	for _, r := range h.sessions {
		for len(r.readers) > 0 {
			h.detach(r, r.readers[0], ErrClosed)
		}
	}
	clear(h.sessions)
	h.held.Init()
	h.bytes = 0
}
