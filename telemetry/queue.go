package telemetry

import (
	"context"
	"sync"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Stats counts spans since the start. Only those that were sampled are counted.
type Stats struct {
	// Ended = Exported + Dropped + Queued.
	Ended, Exported, Dropped, Queued int64
}

// queue is a batch processor that knows how many spans wait, and refuses those beyond its size by itself: the batch
// processor's own count is private.
type queue struct {
	batch sdktrace.SpanProcessor
	size  int64

	waiting  atomic.Int64
	exported atomic.Int64
	dropped  atomic.Int64
	closed   atomic.Bool

	mu        sync.Mutex
	abandoned bool // GUARDED_BY(mu)
}

var _ sdktrace.SpanProcessor = (*queue)(nil)

// spareRoom is for the marks that a flush puts into the batch processor's queue, so that they displace no span.
const spareRoom = 16

func (q *queue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if q.closed.Load() {
		q.dropped.Add(1)
		return
	}
	if q.waiting.Add(1) > q.size {
		q.waiting.Add(-1)
		q.dropped.Add(1)
		return
	}
	q.batch.OnEnd(s)
}

// settle counts a batch that was sent, or could not be.
func (q *queue) settle(n int, sent bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.abandoned:
		return // It counts as dropped already, by waiting.
	case sent:
		q.exported.Add(int64(n))
	default:
		q.dropped.Add(int64(n))
	}
	q.waiting.Add(-int64(n))
}

func (q *queue) Shutdown(ctx context.Context) error {
	q.closed.Store(true)
	return q.batch.Shutdown(ctx) //nolint:wrapcheck // The processor's error is the answer.
}

func (q *queue) ForceFlush(ctx context.Context) error {
	return q.batch.ForceFlush(ctx) //nolint:wrapcheck // The processor's error is the answer.
}

// abandon gives up what still waits, and whatever comes, when nothing will be sent any more.
func (q *queue) abandon() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.abandoned = true
}

func (q *queue) stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{Exported: q.exported.Load(), Dropped: q.dropped.Load(), Queued: q.waiting.Load()}
	if q.abandoned {
		s.Dropped, s.Queued = s.Dropped+s.Queued, 0
	}
	s.Ended = s.Exported + s.Dropped + s.Queued
	return s
}
