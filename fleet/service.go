package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"dixie/spansanitizer"
)

// DefaultWorkers is how many attempts run at a time when [Config] does not say.
const DefaultWorkers = 32

// Config is what a [Service] is made of.
type Config struct {
	// Store keeps the tasks and dispatches their attempts. Required. It serves one Service, once: what
	// another has started is refused, also after its Close.
	Store Store
	// Runner does the work. Required.
	Runner Runner
	// Policy admits. Required.
	Policy Policy
	// Catalog routes task types to models; nil is [DefaultCatalog].
	Catalog Catalog
	// Logger gets which task was spawned, with the context of the spawn, and what goes wrong, without identities
	// and texts; nil logs nothing.
	Logger *slog.Logger
	// Workers is how many attempts run at a time, which bounds the memory and the processes they need;
	// 0 is [DefaultWorkers].
	Workers int
	// RetryDelay is how long to wait before the next attempt, given the retries spent. It is called
	// while the store holds a lock: it must be quick. nil is [RetryDelay] with a random jitter below a
	// second.
	RetryDelay func(retries int) time.Duration
	// OnEvent is called after each change that this service committed, outside of any lock, by the
	// goroutine that made the change: it must not block and must be safe for concurrent use. AgentSpawned
	// may come after an event of a task that was very quick. An event whose process ends before the call
	// is lost. With a Store that publishes events itself, see there, only SpawnDenied comes here. nil is
	// nobody.
	OnEvent func(context.Context, Event)
	// Tracer records a dixie.fleet.spawn around each [Service.Spawn], and a dixie.governance.check around
	// each question to the Policy, also that of [Service.Preview]; zero records nothing. The latter ends
	// while the store holds a lock: what the spans are handed to must be quick.
	Tracer spansanitizer.Tracer
	// Count is called like OnEvent, but for the same events whether or not the Store publishes them itself: it
	// is for counting what this service did. nil is nobody.
	Count func(context.Context, Event)
}

// Service admits, runs and keeps track of tasks. Make one with [New]; it is safe for concurrent use.
type Service struct {
	cfg       Config
	log       *slog.Logger
	ephemeral bool
	publishes bool // The store tells of changes.

	// starting is held through a start, while what it dispatches already needs mu: it takes one value.
	starting chan struct{}

	mu      sync.Mutex
	runs    map[string]run // GUARDED_BY(mu); the attempts at work in this process, by task id
	started bool           // GUARDED_BY(mu)
	closed  bool           // GUARDED_BY(mu)
}

// run is an attempt at work.
type run struct {
	attempt int
	cancel  context.CancelCauseFunc
}

// New checks the configuration and reports all that is wrong with it. It starts nothing.
func New(cfg Config) (*Service, error) {
	var problems []error
	if cfg.Store == nil {
		problems = append(problems, errors.New("fleet: Store is missing"))
	}
	if cfg.Runner == nil {
		problems = append(problems, errors.New("fleet: Runner is missing"))
	}
	if cfg.Policy == nil {
		problems = append(problems, errors.New("fleet: Policy is missing"))
	}
	if cfg.Catalog == nil {
		cfg.Catalog = DefaultCatalog()
	}
	if err := cfg.Catalog.validate(); err != nil {
		problems = append(problems, err)
	}
	if cfg.Workers < 0 {
		problems = append(problems, errors.New("fleet: Workers is negative"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if cfg.Workers == 0 {
		cfg.Workers = DefaultWorkers
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.RetryDelay == nil {
		cfg.RetryDelay = randomRetryDelay
	}
	s := &Service{cfg: cfg, log: cfg.Logger, runs: make(map[string]run), starting: make(chan struct{}, 1)}
	if store, ok := cfg.Store.(interface{ Ephemeral() bool }); ok {
		s.ephemeral = store.Ephemeral()
	}
	if store, ok := cfg.Store.(interface{ Publishes() bool }); ok {
		s.publishes = store.Publishes()
	}
	return s, nil
}

// Start begins to run tasks, those admitted earlier too. ctx bounds the start only. Starting again, or
// after Close, does nothing.
func (s *Service) Start(ctx context.Context) error {
	s.starting <- struct{}{}
	defer func() { <-s.starting }()
	s.mu.Lock()
	done := s.started || s.closed
	s.mu.Unlock()
	if done {
		return nil
	}
	if err := s.cfg.Store.Start(ctx, s.cfg.Workers, s.work); err != nil {
		return fmt.Errorf("fleet: starting to dispatch: %w", err)
	}
	s.mu.Lock()
	s.started = true
	s.mu.Unlock()
	return nil
}

// Close takes no more tasks, cancels the attempts at work with [ErrShutdown] and waits until they have
// ended or ctx has, which is then the error. In an ephemeral store their tasks end as failed; from any
// other they go to the next process. Closing again waits again. A Store that this Service did not start,
// because another has it, is left alone.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	select {
	case s.starting <- struct{}{}:
		<-s.starting
	case <-ctx.Done():
		return fmt.Errorf("fleet: stopping while it starts: %w", context.Cause(ctx))
	}
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	if !started {
		return nil
	}
	if err := s.cfg.Store.Stop(ctx); err != nil {
		return fmt.Errorf("fleet: stopping: %w", err)
	}
	return nil
}

func (s *Service) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// register makes an attempt known to Stop. It is false when the attempt, or a later one, is at work here
// already: a dispatcher may deliver twice. An earlier one that is still at work has lost the task, and is
// interrupted.
func (s *Service) register(a Attempt, cancel context.CancelCauseFunc) bool {
	s.mu.Lock()
	earlier := s.runs[a.TaskID]
	current := earlier.attempt < a.Number
	if current {
		s.runs[a.TaskID] = run{attempt: a.Number, cancel: cancel}
	}
	s.mu.Unlock()
	if current && earlier.cancel != nil {
		earlier.cancel(ErrStopped)
	}
	return current
}

// unregister forgets an attempt, unless a later one has taken its place.
func (s *Service) unregister(a Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs[a.TaskID].attempt == a.Number {
		delete(s.runs, a.TaskID)
	}
}

// interruptRun cancels what works on a task that no longer is its own. The attempt of a task that has not
// ended is left alone, and a later one.
func (s *Service) interruptRun(t Task) {
	s.mu.Lock()
	r, ok := s.runs[t.ID]
	s.mu.Unlock()
	if ok && (t.Status.Terminal() || r.attempt < t.Attempt) {
		r.cancel(ErrStopped)
	}
}

// announce tells of a change that was committed, unless there is nothing to tell or the store does it.
func (s *Service) announce(ctx context.Context, e Event) {
	if e.Type == "" {
		return
	}
	s.call(ctx, s.cfg.Count, e)
	if !s.publishes {
		s.call(ctx, s.cfg.OnEvent, e)
	}
}

// emit tells of what no store tells of.
func (s *Service) emit(ctx context.Context, e Event) {
	s.call(ctx, s.cfg.Count, e)
	s.call(ctx, s.cfg.OnEvent, e)
}

// call survives what it calls.
func (s *Service) call(ctx context.Context, hook func(context.Context, Event), e Event) {
	if hook == nil {
		return
	}
	defer func() {
		if recover() != nil {
			s.log.ErrorContext(ctx, "fleet_event_hook_panicked", "event", string(e.Type))
		}
	}()
	hook(ctx, e)
}

// Working is the number of tasks that this service works on now, without asking the Store.
func (s *Service) Working() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs)
}

// now has the precision that every store keeps.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
