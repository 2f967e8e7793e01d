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
	// off is closed when nothing will be sent any more.
	off <-chan struct{}
	// flushing holds a token while a flush is in the batch processor.
	flushing chan struct{}

	waiting  atomic.Int64
	exported atomic.Int64
	dropped  atomic.Int64
	closed   atomic.Bool

	mu        sync.Mutex
	abandoned bool // GUARDED_BY(mu)
}

var _ sdktrace.SpanProcessor = (*queue)(nil)

// spareRoom is for the mark that a flush puts into the batch processor's queue: it must displace no span, since the
// batch processor does not tell that it dropped one. There is one flush at a time.
const spareRoom = 1

// newQueue makes a queue for size spans. Its batch processor is set before the first span ends.
func newQueue(size int, off <-chan struct{}) *queue {
	return &queue{size: int64(size), off: off, flushing: make(chan struct{}, 1)}
}

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

// settle counts a batch of n spans, of which the collector did not take so many as are refused.
func (q *queue) settle(n, refused int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.abandoned {
		return // It counts as dropped already, by waiting.
	}
	q.exported.Add(n - refused)
	q.dropped.Add(refused)
	q.waiting.Add(-n)
}

func (q *queue) Shutdown(ctx context.Context) error {
	q.closed.Store(true)
	return q.batch.Shutdown(ctx) //nolint:wrapcheck // The processor's error is the answer.
}

// ForceFlush waits for the flush before it. Who gives up leaves its flush behind, which goes on until the batch
// processor has come to its mark: a mark without anybody who waits for it would take a span's place.
func (q *queue) ForceFlush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case q.flushing <- struct{}{}:
	case <-q.off:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	flushed := make(chan error, 1)
	// It ends: each export has a limit in time, and Shutdown calls them off.
	go func() {
		defer func() { <-q.flushing }()
		flushed <- q.batch.ForceFlush(context.WithoutCancel(ctx))
	}()
	select {
	case err := <-flushed:
		return err
	case <-q.off:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
