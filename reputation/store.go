package reputation

import "context"

// MaxPage is the most entries that one call of [Store.Events] returns.
const MaxPage = 1000

// Store keeps the event log, the aggregates and the population. It decides
// nothing; package reputationtest holds every implementation to this description.
//
// All methods are safe for concurrent use. They return an error that wraps the
// context's when it has ended, and one that wraps [ErrStoreUnavailable] when the
// store cannot answer. What they return shares nothing with the store.
//
// A store that does not outlive the process has a method Ephemeral() bool that
// returns true. What wraps a store must pass it on: a struct that embeds the
// interface Store hides it, and production would not refuse the store.
type Store interface {
	// Apply records a batch. In one atomic step it loads what [Loaded] describes,
	// calls fold once for each attempt, and commits the [Changes], all or nothing;
	// steps of different calls behave as if they came one after the other. It returns
	// the fold's outcomes, one for each entry in the order of the batch. An error
	// means that nothing was committed, except that a store that lost its connection
	// while committing cannot know; repeating the batch is then safe, because event
	// ids are unique. The order of the batch is the order in the log. An empty batch
	// changes nothing. The batch is not retained.
	Apply(ctx context.Context, batch []Entry, fold Fold) ([]Outcome, error)

	// Get returns an agent's aggregate, or [ErrNotFound].
	Get(ctx context.Context, agentID string) (Aggregate, error)

	// Population returns the moments of all agents that have a score.
	Population(ctx context.Context) (Moments, error)

	// Count returns the number of aggregates.
	Count(ctx context.Context) (int, error)

	// Events returns up to limit entries of the log with positions above after, in
	// their order. Begin with 0 and go on with the last position; an empty result is
	// the end. A limit below 1 or above [MaxPage] means MaxPage.
	Events(ctx context.Context, after int64, limit int) ([]Entry, error)
}
