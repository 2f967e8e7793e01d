package signals

import "sync"

// signal is one that is buffered.
type signal struct {
	message

	number uint64 // Of this publisher's signals.
}

// message is what a signal says.
type message struct {
	subject string
	body    []byte
	trace   traceContext
}

// size is what counts of a message that is buffered.
func (m message) size() int { return len(m.body) + len(m.trace.parent) + len(m.trace.state) }

// outcome is how a signal leaves the queue.
type outcome int

const (
	published outcome = iota
	failed
)

// queue keeps signals in order, within bounds, and the accounts of them.
type queue struct {
	maxBytes int

	mu     sync.Mutex
	ring   []signal // GUARDED_BY(mu)
	first  int      // GUARDED_BY(mu)
	length int      // GUARDED_BY(mu)
	bytes  int      // GUARDED_BY(mu)
	closed bool     // GUARDED_BY(mu)
	counts Stats    // GUARDED_BY(mu); without Buffered
}

func newQueue(size, maxBytes int) *queue {
	return &queue{ring: make([]signal, size), maxBytes: maxBytes}
}

// push takes a signal, or drops it.
func (q *queue) push(m message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counts.Offered++
	if q.closed || q.length == len(q.ring) || q.bytes+m.size() > q.maxBytes {
		q.counts.Dropped++
		return
	}
	q.ring[(q.first+q.length)%len(q.ring)] = signal{m, q.counts.Offered}
	q.length++
	q.bytes += m.size()
}

// refuse counts a signal that cannot be made.
func (q *queue) refuse() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counts.Offered++
	q.counts.Failed++
}

// head is the signal that is next, and stays in the queue; false if there is none.
func (q *queue) head() (signal, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ring[q.first], q.length > 0
}

// pop removes the head, which has come to its end.
func (q *queue) pop(end outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= q.ring[q.first].size()
	q.ring[q.first] = signal{}
	q.first = (q.first + 1) % len(q.ring)
	q.length--
	if end == published {
		q.counts.Published++
	} else {
		q.counts.Failed++
	}
}

// close has all later signals dropped.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// finished says that nothing is left and nothing can come.
func (q *queue) finished() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && q.length == 0
}

// abandon gives up what is left, and says how many that were.
func (q *queue) abandon() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	lost := q.length
	q.counts.Lost += uint64(max(0, lost))
	clear(q.ring)
	q.length, q.bytes = 0, 0
	return lost
}

func (q *queue) stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	counts := q.counts
	counts.Buffered = q.length
	return counts
}

// Stats are the numbers of a [Publisher] since it began. Of the signals that were offered, by
// [Publisher.OfferFleet] and [Publisher.Interaction], each is counted once more:
// Offered = Published + Dropped + Failed + Lost + Buffered.
type Stats struct {
	Offered uint64
	// Published were acknowledged by JetStream.
	Published uint64
	// Dropped came when the buffer was full, or after Close.
	Dropped uint64
	// Failed were buffered and then given up because the server will not take them, see [ErrRefused], or
	// stores them without ever saying so.
	Failed uint64
	// Lost were still buffered when Close had to end.
	Lost uint64
	// Buffered wait, the one under way included.
	Buffered int
	// FleetPublished and FleetFailed are the calls of [Publisher.Fleet] that returned nil, and an error.
	FleetPublished, FleetFailed uint64
}

// Stats returns the numbers so far.
func (p *Publisher) Stats() Stats {
	s := p.queue.stats()
	s.FleetPublished, s.FleetFailed = p.fleetPublished.Load(), p.fleetFailed.Load()
	return s
}
