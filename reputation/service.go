package reputation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"dixie/spansanitizer"
)

const (
	// DefaultCommitTimeout is the default of [Config].CommitTimeout.
	DefaultCommitTimeout = 10 * time.Second

	// DefaultMaxBatch is the default of [Config].MaxBatch.
	DefaultMaxBatch = 256
)

// Config describes a [Service]. The zero value is usable.
type Config struct {
	// CommitTimeout bounds one step of the store that records a batch. It goes on
	// when a caller gives up, because others are in the same batch. 0 or less:
	// [DefaultCommitTimeout].
	CommitTimeout time.Duration
	// MaxBatch is how many recordings at most share one step of the store: those that
	// arrived while the step before was under way. Nothing waits for a batch to fill.
	// 0 or less: [DefaultMaxBatch]. 1: each has a step of its own.
	MaxBatch int
	// Logger receives failures of the store. Nil: discarded.
	Logger *slog.Logger
	// Tracer records a dixie.reputation.update around each [Service.Record]. Zero: none.
	Tracer spansanitizer.Tracer
	// OnBatch is told of each step of the store when it has ended, before those who
	// wait are. It must return soon. Nil: nobody is told.
	OnBatch func(context.Context, Batch)
}

// Batch is what one step of the store made of the recordings that it took together.
type Batch struct {
	// Recorded, Duplicates and Refused are the events that were kept, that were known
	// already, and that conflict with what is known. All are 0 when Err is not nil.
	Recorded, Duplicates, Refused int
	// Size is the number of all.
	Size int
	Took time.Duration
	// Err says why the step failed, and with it every recording in it.
	Err error
}

// Service records events and answers questions about agents. It is safe for
// concurrent use and has a goroutine only while events are being recorded, which
// [Service.Close] waits for.
//
// Its methods return errors that wrap [ErrStoreUnavailable] when the store fails
// or a deadline passes, and context.Canceled when the caller gave up.
type Service struct {
	store     Store
	scores    *scoreCache
	committer *committer
	tracer    spansanitizer.Tracer
}

// NewService returns a service on the store, which the caller keeps owning.
func NewService(store Store, cfg Config) *Service {
	if cfg.CommitTimeout <= 0 {
		cfg.CommitTimeout = DefaultCommitTimeout
	}

	if cfg.MaxBatch <= 0 {
		cfg.MaxBatch = DefaultMaxBatch
	}

	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}

	scores := newScoreCache()

	return &Service{
		store:  store,
		scores: scores,
		committer: &committer{
			store: store, timeout: cfg.CommitTimeout, maxBatch: cfg.MaxBatch, logger: cfg.Logger, settled: scores.drop,
			onBatch: cfg.OnBatch,
		},
		tracer: cfg.Tracer,
	}
}

// Close refuses further recordings and waits until those that were accepted are
// settled, so that the store may be closed. When ctx ends first, the error wraps its
// cause. Reading goes on. It may be called more than once.
func (s *Service) Close(ctx context.Context) error {
	if err := s.committer.close(ctx); err != nil {
		return fmt.Errorf("close reputation: %w", err)
	}

	return nil
}

// Recorded is the outcome of [Service.Record].
type Recorded struct {
	// View is the agent after the event; for a duplicate, as it is now.
	View

	// EventID is the id under which the event is kept, in lower case.
	EventID string
	// Duplicate says that the event had been recorded before and that nothing was
	// counted again.
	Duplicate bool
}

// Record keeps an event and returns what it made of the agent. It returns only
// when the store has committed. Events of one agent that are recorded one after the
// other are applied in that order.
//
// Recording the same ID again with the same content changes nothing and answers a
// duplicate; with other content, or for another agent, the error is
// [ErrEventConflict]. An event that breaks a rule is [ErrInvalidEvent] with a
// *[FieldError]. After any other error the event may or may not have been recorded,
// and repeating the call with the same ID is safe.
func (s *Service) Record(ctx context.Context, e Event) (Recorded, error) {
	ctx, span := startUpdate(ctx, s.tracer, e)
	defer span.End()

	recorded, err := s.record(ctx, e)
	endUpdate(span, recorded.View, err)

	return recorded, err
}

func (s *Service) record(ctx context.Context, e Event) (Recorded, error) {
	if e.ID == "" {
		id, err := uuid.NewRandom()
		if err != nil {
			return Recorded{}, fmt.Errorf("make an event id: %w", err)
		}

		e.ID = id.String()
	}

	entry, err := NewEntry(e, time.Now())
	if err != nil {
		return Recorded{}, err
	}

	outcome, err := s.committer.record(ctx, entry)
	if err != nil {
		return Recorded{}, storeError("record an event", err)
	}

	return Recorded{
		View:      NewView(outcome.Aggregate, time.Now()),
		EventID:   entry.Event.ID,
		Duplicate: outcome.Duplicate,
	}, nil
}

// Get returns what is known of an agent, or [ErrNotFound] if nothing was ever
// recorded for it, which includes texts that cannot be the id of an agent.
func (s *Service) Get(ctx context.Context, agentID string) (View, error) {
	a, err := s.get(ctx, agentID)
	if err != nil {
		return View{}, err
	}

	return NewView(a, time.Now()), nil
}

// Cohorts returns the agent's cohorts, never nil, and their weighted mean, which is
// nil if there are none; or [ErrNotFound].
func (s *Service) Cohorts(ctx context.Context, agentID string) ([]Cohort, *float64, error) {
	view, err := s.Get(ctx, agentID)
	if err != nil {
		return nil, nil, err
	}

	return view.Cohorts, CrossModelScore(view.Cohorts), nil
}

// Score returns the blended score, nil for an agent that is cold or not known. It
// may be up to [ScoreTTL] old, but includes what this service has recorded: for
// deciding quickly and often. Up to [ScoreCacheSize] answers are kept.
func (s *Service) Score(ctx context.Context, agentID string) (*float64, error) {
	if !ValidAgentID(agentID) {
		return nil, nil //nolint:nilnil // An agent that cannot exist has no score; that is the answer.
	}

	score, hit, ticket := s.scores.get(agentID)
	if hit {
		return score, nil
	}

	a, err := s.get(ctx, agentID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}

	s.scores.put(ticket, a.BlendedScore)

	return copied(a.BlendedScore), nil
}

// Population describes all agents together.
type Population struct {
	// Mean and Variance are those of the moving averages, one value an agent. The
	// mean of nobody is [NeutralPrior].
	Mean, Variance float64
	// Size is the number of agents with a score, StoreCount that of all agents.
	Size, StoreCount int
}

// Population returns the statistics of all agents. Its two counts are read one
// after the other; an agent that appears in between is in StoreCount alone.
func (s *Service) Population(ctx context.Context) (Population, error) {
	moments, err := s.store.Population(ctx)
	if err != nil {
		return Population{}, storeError("read the population", err)
	}

	count, err := s.Count(ctx)
	if err != nil {
		return Population{}, err
	}

	return Population{
		Mean:       PriorFor(nil, moments),
		Variance:   moments.Variance(),
		Size:       moments.Count,
		StoreCount: count,
	}, nil
}

// Count returns the number of agents for which anything was recorded.
func (s *Service) Count(ctx context.Context) (int, error) {
	count, err := s.store.Count(ctx)
	if err != nil {
		return 0, storeError("count the agents", err)
	}

	return count, nil
}

func (s *Service) get(ctx context.Context, agentID string) (Aggregate, error) {
	if !ValidAgentID(agentID) {
		return Aggregate{}, ErrNotFound
	}

	a, err := s.store.Get(ctx, agentID)
	if err != nil {
		return Aggregate{}, storeError("read an agent", err)
	}

	return a, nil
}

// storeError sorts the errors of a store into those that the package names. A
// caller that gave up is no failure of the store; a deadline that passed is.
func storeError(doing string, err error) error {
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrEventConflict), errors.Is(err, ErrStoreUnavailable),
		errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err)
	default:
		return fmt.Errorf("%s: %w: %w", doing, ErrStoreUnavailable, err)
	}
}
