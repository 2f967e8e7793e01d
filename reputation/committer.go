package reputation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"dixie/spansanitizer"
)

// maxQueue is the number of recordings that may wait for a step of the store. Each of
// them is a request that is being served; more of them means that the store does not
// keep up.
const maxQueue = 10_000

var (
	errClosed     = errors.New("the service is closed")
	errQueueFull  = errors.New("too many recordings are waiting")
	errStorePanic = errors.New("store panicked")
	errOutcomes   = errors.New("store returned another number of outcomes than entries")
)

// committer coalesces recordings that arrive while the store is busy into one
// batch, so that throughput grows with load while each is acknowledged only when
// it is durable. Batches follow each other, in the order of arrival. It has one
// goroutine while there is work and none otherwise.
type committer struct {
	store    Store
	timeout  time.Duration
	maxBatch int
	logger   *slog.Logger
	// settled is called for each agent of a batch, before those who wait are told.
	settled func(agentID string)
	onBatch func(context.Context, Batch) // Nil when nobody listens.

	mu      sync.Mutex
	queue   []*recording  // GUARDED_BY(mu)
	running bool          // GUARDED_BY(mu)
	closed  bool          // GUARDED_BY(mu)
	drained chan struct{} // GUARDED_BY(mu); of the newest goroutine: closed when it ends
}

// recording is one entry on its way to the store.
type recording struct {
	entry Entry
	done  chan settlement // Has room for the one value it gets.
}

type settlement struct {
	outcome Outcome
	err     error
}

// record hands the entry to the store and waits for the outcome. If the context
// ends first, an entry that no batch has taken yet is withdrawn; one that is being
// committed may be recorded all the same.
func (c *committer) record(ctx context.Context, entry Entry) (Outcome, error) {
	if err := ctx.Err(); err != nil {
		return Outcome{}, err
	}

	r := &recording{entry: entry, done: make(chan settlement, 1)}

	if err := c.enqueue(ctx, r); err != nil {
		return Outcome{}, err
	}

	select {
	case s := <-r.done:
		return s.outcome, s.err
	case <-ctx.Done():
		c.withdraw(r)

		return Outcome{}, ctx.Err()
	}
}

func (c *committer) enqueue(ctx context.Context, r *recording) error {
	c.mu.Lock()
	defer c.mu.Unlock()

	switch {
	case c.closed:
		return errClosed
	case len(c.queue) >= maxQueue:
		return errQueueFull
	}

	c.queue = append(c.queue, r)

	if !c.running {
		c.running, c.drained = true, make(chan struct{})
		//nolint:gosec // The batch is not its first caller's alone, and must survive that caller.
		go c.drain(context.WithoutCancel(ctx), c.drained)
	}

	return nil
}

func (c *committer) withdraw(r *recording) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if i := slices.Index(c.queue, r); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
	}
}

// drain commits batches until nothing waits. The context carries the values of the
// caller who began, whose entry is in the first batch; later batches have no part
// in that caller's trace.
func (c *committer) drain(ctx context.Context, drained chan<- struct{}) { //nolint:contextcheck // See above.
	defer close(drained)

	for batch := c.take(); len(batch) > 0; batch = c.take() {
		c.commit(ctx, batch)
		ctx = context.Background()
	}
}

// close refuses further recordings and waits until those that are in line are settled.
func (c *committer) close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	drained := c.drained
	c.mu.Unlock()

	if drained == nil {
		return nil
	}

	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("recordings are still in line: %w", context.Cause(ctx))
	}
}

// take removes the next batch from the queue; none ends the work.
func (c *committer) take() []*recording {
	c.mu.Lock()
	defer c.mu.Unlock()

	n := min(len(c.queue), c.maxBatch)
	batch := c.queue[:n:n]

	if n == len(c.queue) {
		c.queue = nil
	} else {
		c.queue = slices.Clone(c.queue[n:])
	}

	c.running = n > 0

	return batch
}

func (c *committer) commit(ctx context.Context, batch []*recording) {
	entries := make([]Entry, len(batch))
	for i, r := range batch {
		entries[i] = r.entry
	}

	began := time.Now()

	outcomes, err := c.apply(ctx, entries)
	c.tell(ctx, len(batch), outcomes, time.Since(began), err)

	if err != nil {
		c.logger.WarnContext(ctx, "reputation events were not recorded",
			slog.Int("events", len(batch)), slog.String("error", spansanitizer.TextOf(err)))
	}

	for i, r := range batch {
		// Also after an error: the store may have committed and lost the connection.
		c.settled(r.entry.Event.AgentID)

		if err != nil {
			r.done <- settlement{err: err}
		} else {
			r.done <- settlement{outcome: outcomes[i], err: outcomes[i].Err}
		}
	}
}

// apply calls the store within the time limit. It runs on a goroutine of its own,
// where a panic of somebody else's store would end the process, so it becomes an
// error. What it panicked with is quoted, because it may contain anything, and
// traces leave out what is quoted.
func (c *committer) apply(ctx context.Context, entries []Entry) (outcomes []Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			outcomes, err = nil, fmt.Errorf("%w: %q", errStorePanic, fmt.Sprint(p))
		}
	}()

	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	outcomes, err = c.store.Apply(ctx, entries, FoldBatch)
	if err == nil && len(outcomes) != len(entries) {
		err = errOutcomes
	}

	return outcomes, err
}

// tell sums a batch up for whoever listens.
func (c *committer) tell(ctx context.Context, size int, outcomes []Outcome, took time.Duration, err error) {
	if c.onBatch == nil {
		return
	}

	b := Batch{Size: size, Took: took, Err: err}

	if err == nil {
		for i := range outcomes {
			switch {
			case outcomes[i].Err != nil:
				b.Refused++
			case outcomes[i].Duplicate:
				b.Duplicates++
			default:
				b.Recorded++
			}
		}
	}

	c.onBatch(ctx, b)
}
