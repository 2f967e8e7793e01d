// Package memory keeps a fleet in the memory of the process: for development, for tests and for a host
// that can do without its tasks after a restart. A [Store] is safe for concurrent use; one mutex makes
// each operation atomic. All it keeps is bounded, see [Config].
package memory

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"dixie/fleet"
)

// Defaults of [Config].
const (
	DefaultMaxActive              = 10_000
	DefaultMaxFinishedPerOperator = 1000
	DefaultMaxFinished            = 20_000
	DefaultMaxBytes               = 256 << 20
)

// Config bounds a [Store]. Zero is the default of each.
type Config struct {
	// MaxActive is how many tasks that have not ended are kept; a further one is refused with
	// [fleet.ErrStoreUnavailable].
	MaxActive int
	// MaxFinishedPerOperator and MaxFinished are how many tasks that have ended are kept, for each
	// operator and in all; those that ended first go first, with their logs and idempotency keys.
	MaxFinishedPerOperator int
	MaxFinished            int
	// MaxBytes is how much text tasks and logs may hold together. Ended tasks go first; then new tasks
	// are refused with [fleet.ErrStoreUnavailable], and a log loses its oldest lines to its new ones.
	MaxBytes int
}

// Store is a [fleet.Store] in memory. Make one with [New].
type Store struct {
	cfg Config

	mu        sync.Mutex
	records   map[string]*record   // GUARDED_BY(mu); by task id
	operators map[string]*operator // GUARDED_BY(mu)
	all       group                // GUARDED_BY(mu); the tasks of every operator
	bytes     int                  // GUARDED_BY(mu)
	today     string               // GUARDED_BY(mu); the last day on which idle operators were forgotten
	queue     queue                // GUARDED_BY(mu)
	workers   workers              // GUARDED_BY(mu)
	// wake tells the dispatcher that the queue or the workers have changed.
	wake chan struct{}
}

var _ fleet.Store = (*Store)(nil)

// group is a set of tasks with what is asked of it often.
type group struct {
	created  list.List // of *record, oldest first
	finished list.List // of *record, in the order in which they ended
	counts   map[fleet.Status]int
	active   int
}

// operator is what is kept of one.
type operator struct {
	group

	keys  map[string]*record // by idempotency key
	spent map[string]int64   // micro-USD by day, of the newest days only
	limit int                // of the latest admission
}

// record is a task with what belongs to it.
type record struct {
	task     fleet.Task
	key      string
	log      ring
	size     int // of the task's texts
	released bool
	// Places in the lists of the operator and of all; finished ones are nil until the task has ended.
	created, createdAll   *list.Element
	finished, finishedAll *list.Element
	waiting               *entry // the attempt in the queue, or nil
}

// New returns an empty store.
func New(cfg Config) *Store {
	for _, bound := range []struct {
		value    *int
		standard int
	}{
		{&cfg.MaxActive, DefaultMaxActive},
		{&cfg.MaxFinishedPerOperator, DefaultMaxFinishedPerOperator},
		{&cfg.MaxFinished, DefaultMaxFinished},
		{&cfg.MaxBytes, DefaultMaxBytes},
	} {
		if *bound.value <= 0 {
			*bound.value = bound.standard
		}
	}
	return &Store{
		cfg:       cfg,
		records:   make(map[string]*record),
		operators: make(map[string]*operator),
		all:       group{counts: make(map[fleet.Status]int)},
		wake:      make(chan struct{}, 1),
	}
}

// Ephemeral says that the tasks do not outlive the process.
func (s *Store) Ephemeral() bool { return true }

// day is a UTC day as text, which sorts like the days.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// Admit implements [fleet.Tasks].
func (s *Store) Admit(ctx context.Context, in fleet.NewTask, decide func(fleet.Snapshot) fleet.Decision) (fleet.Admission, error) {
	if err := ctx.Err(); err != nil {
		return fleet.Admission{}, fmt.Errorf("memory: admitting: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := in.Task.CreatedAt
	s.forgetIdle(day(now))
	op := s.operators[in.Task.Operator]
	counted := op.snapshot(now)
	if earlier := op.withKey(in.IdempotencyKey); earlier != nil {
		if earlier.task.ContextHash != in.Task.ContextHash {
			return fleet.Admission{}, fleet.ErrIdempotencyConflict
		}
		return fleet.Admission{Task: earlier.task.Clone(), Snapshot: counted, Replayed: true}, nil
	}
	decision := decide(counted)
	out := fleet.Admission{Decision: decision, Snapshot: counted}
	if !decision.Admit {
		return out, nil
	}
	r := &record{task: in.Task.Clone(), key: in.IdempotencyKey}
	r.task.Version = 1
	r.task.Cost, r.task.CostMicroUSD, r.task.Limit = decision.Cost, decision.CostMicroUSD, decision.Limit
	r.size = textSize(r.task)
	if len(s.records)-s.all.finished.Len() >= s.cfg.MaxActive || !s.makeRoom(r.size) {
		return fleet.Admission{}, fmt.Errorf("%w: it is full", fleet.ErrStoreUnavailable)
	}
	if op = s.operators[in.Task.Operator]; op == nil {
		op = &operator{
			group: group{counts: make(map[fleet.Status]int)},
			keys:  make(map[string]*record), spent: make(map[string]int64),
		}
		s.operators[in.Task.Operator] = op
	}
	s.insert(op, r)
	op.limit = decision.Limit
	op.spent[day(now)] += decision.CostMicroUSD
	s.enqueue(r, now)
	out.Task = r.task.Clone()
	return out, nil
}

func (s *Store) insert(op *operator, r *record) {
	s.records[r.task.ID] = r
	s.bytes += r.size
	r.created, r.createdAll = op.created.PushBack(r), s.all.created.PushBack(r)
	op.count(r.task.Status, 1)
	s.all.count(r.task.Status, 1)
	if r.key != "" {
		op.keys[r.key] = r
	}
}

func (g *group) count(status fleet.Status, n int) {
	g.counts[status] += n
	if status.Active() {
		g.active += n
	}
}

// Snapshot implements [fleet.Tasks].
func (s *Store) Snapshot(_ context.Context, operator string, now time.Time) (fleet.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.operators[operator].snapshot(now), nil
}

const recent = 24 * time.Hour

// snapshot of an operator that has no task is empty. What was deleted or made room for others is not
// among the recent tasks.
func (op *operator) snapshot(now time.Time) fleet.Snapshot {
	if op == nil {
		return fleet.Snapshot{}
	}
	out := fleet.Snapshot{Active: op.active, SpentMicroUSD: op.spent[day(now)]}
	since := now.Add(-recent)
	for e := op.created.Back(); e != nil; e = e.Prev() {
		t := &at(e).task
		if !t.CreatedAt.After(since) {
			break
		}
		out.RecentTotal++
		if t.Status.Active() {
			out.RecentActive++
		}
	}
	return out
}

func (op *operator) withKey(key string) *record {
	if op == nil || key == "" {
		return nil
	}
	return op.keys[key]
}

// at is the record in a list.
func at(e *list.Element) *record {
	r, _ := e.Value.(*record)
	return r
}

// find returns a task within the scope.
func (s *Store) find(scope fleet.Scope, id string) (*record, error) {
	r := s.records[id]
	if r == nil || !scope.Includes(r.task.Operator) {
		return nil, fleet.ErrNotFound
	}
	return r, nil
}

// target is find for a write.
func (s *Store) target(t fleet.Target) (*record, error) {
	r, err := s.find(t.Scope, t.ID)
	if err != nil {
		return nil, err
	}
	if t.Attempt != 0 && (t.Attempt != r.task.Attempt || r.task.Status.Terminal()) {
		return nil, fleet.ErrFenced
	}
	return r, nil
}

// Get implements [fleet.Tasks].
func (s *Store) Get(_ context.Context, scope fleet.Scope, id string) (fleet.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(scope, id)
	if err != nil {
		return fleet.Task{}, err
	}
	return r.task.Clone(), nil
}

// List implements [fleet.Tasks].
func (s *Store) List(_ context.Context, scope fleet.Scope, limit int) (fleet.Listing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := fleet.Listing{Counts: make(map[fleet.Status]int)}
	g := &s.all
	if !scope.All {
		op := s.operators[scope.Operator]
		if op == nil || !scope.Includes(scope.Operator) {
			return out, nil
		}
		g = &op.group
	}
	for status, n := range g.counts {
		if n > 0 {
			out.Counts[status] = n
		}
	}
	for e := g.created.Back(); e != nil && len(out.Tasks) < limit; e = e.Prev() {
		out.Tasks = append(out.Tasks, at(e).task.Clone())
	}
	return out, nil
}

// Update implements [fleet.Tasks].
func (s *Store) Update(
	ctx context.Context, target fleet.Target, change func(fleet.Task) (fleet.Change, error),
) (fleet.Task, error) {
	if err := ctx.Err(); err != nil {
		return fleet.Task{}, fmt.Errorf("memory: updating: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.target(target)
	if err != nil {
		return fleet.Task{}, err
	}
	c, err := change(r.task.Clone())
	if err != nil {
		return fleet.Task{}, err
	}
	op, before := s.operators[r.task.Operator], r.task.Status
	c.Apply(&r.task)
	op.count(before, -1)
	s.all.count(before, -1)
	op.count(r.task.Status, 1)
	s.all.count(r.task.Status, 1)
	if c.Release && !r.released {
		r.released = true
		if booked := day(r.task.CreatedAt); op.spent[booked] != 0 {
			op.spent[booked] -= r.task.CostMicroUSD
		}
	}
	out := r.task.Clone()
	switch {
	case r.task.Status.Terminal():
		s.dequeue(r)
		s.finish(op, r)
	case !c.RunAt.IsZero():
		s.enqueue(r, c.RunAt)
	}
	return out, nil
}

// finish puts a task among those that have ended, and drops the ones there is no more room for.
func (s *Store) finish(op *operator, r *record) {
	if r.finished != nil {
		return
	}
	r.finished, r.finishedAll = op.finished.PushBack(r), s.all.finished.PushBack(r)
	for op.finished.Len() > s.cfg.MaxFinishedPerOperator {
		s.remove(at(op.finished.Front()))
	}
	for s.all.finished.Len() > s.cfg.MaxFinished {
		s.remove(at(s.all.finished.Front()))
	}
}

// Delete implements [fleet.Tasks].
func (s *Store) Delete(ctx context.Context, scope fleet.Scope, id string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: deleting: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(scope, id)
	if err != nil {
		return err
	}
	if !r.task.Status.CanDelete() {
		return &fleet.ConflictError{Status: r.task.Status}
	}
	s.remove(r)
	return nil
}

// remove forgets a task that has ended. Its cost stays in the operator's sums.
func (s *Store) remove(r *record) {
	op := s.operators[r.task.Operator]
	delete(s.records, r.task.ID)
	op.created.Remove(r.created)
	s.all.created.Remove(r.createdAll)
	op.finished.Remove(r.finished)
	s.all.finished.Remove(r.finishedAll)
	op.count(r.task.Status, -1)
	s.all.count(r.task.Status, -1)
	if r.key != "" {
		delete(op.keys, r.key)
	}
	s.bytes -= r.size + r.log.bytes()
}

// makeRoom drops tasks that have ended, those that ended first, until n more bytes fit.
func (s *Store) makeRoom(n int) bool {
	for s.bytes+n > s.cfg.MaxBytes && s.all.finished.Len() > 0 {
		s.remove(at(s.all.finished.Front()))
	}
	return s.bytes+n <= s.cfg.MaxBytes
}

// forgetIdle drops, once a day, the sums of days that nobody asks for and operators that have nothing
// left. Yesterday is kept for those whose clock is a little behind.
func (s *Store) forgetIdle(today string) {
	if today <= s.today {
		return
	}
	yesterday := s.today
	s.today = today
	for name, op := range s.operators {
		for d := range op.spent {
			if d < yesterday {
				delete(op.spent, d)
			}
		}
		if op.created.Len() == 0 && len(op.spent) == 0 {
			delete(s.operators, name)
		}
	}
}

// Health implements [fleet.Tasks].
func (s *Store) Health(context.Context) (fleet.Health, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := fleet.Health{Total: len(s.records), Active: s.all.active}
	for _, op := range s.operators {
		if op.active > op.limit {
			out.OverLimit++
		}
	}
	return out, nil
}

// textSize is what a task takes of MaxBytes.
func textSize(t fleet.Task) int {
	const fixed = 1024 // The struct, its short fields and its places in lists and maps.
	size := fixed + len(t.Description) + len(t.Repository) + len(t.Operator) + len(t.TraceState)
	for key, value := range t.ContextOverrides {
		size += len(key) + len(value)
	}
	return size
}
