package memory

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"dixie/fleet"
)

// redelivery is how long an attempt waits whose work could not take it.
const redelivery = time.Second

// entry is an attempt in the queue.
type entry struct {
	attempt fleet.Attempt
	record  *record
	order   uint64 // Attempts due at the same time go in the order in which they came.
	index   int    // In the heap.
}

// queue is a heap of waiting attempts, the earliest first. A task has at most one, so the queue is
// bounded like the active tasks are; no goroutine and no timer waits for each.
type queue struct {
	entries []*entry
	last    uint64
}

// Len implements heap.Interface.
func (q *queue) Len() int { return len(q.entries) }

// Less implements heap.Interface.
func (q *queue) Less(i, j int) bool {
	a, b := q.entries[i], q.entries[j]
	if !a.attempt.RunAt.Equal(b.attempt.RunAt) {
		return a.attempt.RunAt.Before(b.attempt.RunAt)
	}
	return a.order < b.order
}

// Swap implements heap.Interface.
func (q *queue) Swap(i, j int) {
	q.entries[i], q.entries[j] = q.entries[j], q.entries[i]
	q.entries[i].index, q.entries[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	e, _ := x.(*entry)
	e.index = len(q.entries)
	q.entries = append(q.entries, e)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(q.entries) - 1
	e := q.entries[last]
	q.entries[last] = nil
	q.entries = q.entries[:last]
	return e
}

// enqueue lets a task's attempt wait, in place of an earlier one.
func (s *Store) enqueue(r *record, runAt time.Time) {
	s.dequeue(r)
	s.queue.last++
	r.waiting = &entry{
		attempt: fleet.Attempt{TaskID: r.task.ID, Number: r.task.Attempt, RunAt: runAt},
		record:  r, order: s.queue.last,
	}
	heap.Push(&s.queue, r.waiting)
	s.notify()
}

func (s *Store) dequeue(r *record) {
	if r.waiting != nil {
		heap.Remove(&s.queue, r.waiting.index)
		r.waiting = nil
	}
}

func (s *Store) notify() {
	select {
	case s.wake <- struct{}{}:
	default: // The dispatcher has not yet looked since the last one.
	}
}

// workFunc does an attempt.
type workFunc = func(context.Context, fleet.Attempt) error

// workers is what runs.
type workers struct {
	cancel context.CancelCauseFunc // nil before Start.
	free   int
	group  *sync.WaitGroup // The dispatcher and each attempt at work.
	ended  chan struct{}   // Closed when the group is done; nil before Stop.
}

// Start implements [fleet.Dispatcher].
func (s *Store) Start(ctx context.Context, n int, work func(context.Context, fleet.Attempt) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: starting: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers.cancel != nil {
		return errors.New("memory: started already: a store serves one service, once; make a new one for the next")
	}
	// The attempts belong to the store, not to whoever started it.
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	s.workers = workers{cancel: cancel, free: n, group: new(sync.WaitGroup)}
	s.workers.group.Go(func() { s.dispatch(life, work) })
	return nil
}

// Stop implements [fleet.Dispatcher].
func (s *Store) Stop(ctx context.Context) error {
	s.mu.Lock()
	if s.workers.cancel == nil {
		s.mu.Unlock()
		return nil
	}
	s.workers.cancel(fleet.ErrShutdown)
	if s.workers.ended == nil {
		ended, group := make(chan struct{}), s.workers.group
		s.workers.ended = ended
		go func() {
			group.Wait()
			close(ended)
		}()
	}
	ended := s.workers.ended
	s.mu.Unlock()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("memory: waiting for what runs: %w", ctx.Err())
	}
}

// dispatch is the one goroutine that waits for attempts to be due and for workers to be free.
func (s *Store) dispatch(ctx context.Context, work workFunc) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if wait, ok := s.next(ctx, work); ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// next begins all attempts that can begin, and says how long it is to the next, if there is one that a
// worker is free for.
func (s *Store) next(ctx context.Context, work workFunc) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.workers.free > 0 && s.queue.Len() > 0 && ctx.Err() == nil {
		if wait := time.Until(s.queue.entries[0].attempt.RunAt); wait > 0 {
			return wait, true
		}
		e, _ := heap.Pop(&s.queue).(*entry)
		e.record.waiting = nil
		s.workers.free--
		s.workers.group.Go(func() { s.do(ctx, e, work) })
	}
	return 0, false
}

// do is one attempt.
func (s *Store) do(ctx context.Context, e *entry, work workFunc) {
	err := work(ctx, e.attempt)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers.free++
	r := e.record
	if err != nil && r.waiting == nil && s.records[r.task.ID] == r &&
		r.task.Attempt == e.attempt.Number && !r.task.Status.Terminal() {
		s.enqueue(r, time.Now().Add(redelivery))
	}
	s.notify()
}
