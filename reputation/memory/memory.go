// Package memory keeps reputation in the process, for development and tests. A
// restart loses everything, which the store says of itself by [Store.Ephemeral].
//
// The store holds a bounded number of events, because their log is what the
// aggregates follow from and none of them can be let go. Agents are bounded by the
// same number: each has at least one event. A store is safe for concurrent use.
package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"dixie/reputation"
)

// DefaultMaxEvents is the number of events that a store holds unless told
// otherwise. An event of the largest kind, for an agent of its own, takes about 10 KiB,
// so that half a gigabyte is the most; usual ones take a tenth of it.
const DefaultMaxEvents = 50_000

// Store is a [reputation.Store] in memory.
type Store struct {
	max int

	mu           sync.RWMutex
	log          []reputation.Entry              // GUARDED_BY(mu)
	aggregates   map[string]reputation.Aggregate // GUARDED_BY(mu)
	fingerprints map[string]string               // GUARDED_BY(mu)
	population   reputation.Moments              // GUARDED_BY(mu)
}

var _ reputation.Store = (*Store)(nil)

// New returns an empty store that takes so many events; [DefaultMaxEvents] if
// maxEvents is 0 or less. A batch that would exceed them is refused as a whole with
// [reputation.ErrStoreUnavailable]; reading goes on.
func New(maxEvents int) *Store {
	if maxEvents <= 0 {
		maxEvents = DefaultMaxEvents
	}

	return &Store{
		max:          maxEvents,
		aggregates:   map[string]reputation.Aggregate{},
		fingerprints: map[string]string{},
	}
}

// Ephemeral returns true: what is recorded ends with the process.
func (s *Store) Ephemeral() bool { return true }

// Apply implements [reputation.Store]. Steps are serialised by one lock.
func (s *Store) Apply(ctx context.Context, batch []reputation.Entry, fold reputation.Fold) ([]reputation.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	// Asked under the lock, for which the caller may have waited.
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("apply a batch: %w", err)
	}

	changes := fold(s.load(batch), batch)

	if len(s.log)+len(changes.Entries) > s.max {
		return nil, fmt.Errorf("%w: %d events are all that fit in memory", reputation.ErrStoreUnavailable, s.max)
	}

	for _, entry := range changes.Entries {
		entry.Position = int64(len(s.log)) + 1
		s.log = append(s.log, entry)
		s.fingerprints[entry.Event.ID] = entry.Fingerprint
	}

	maps.Copy(s.aggregates, changes.Aggregates)

	s.population = changes.Population

	return changes.Outcomes, nil
}

// load gathers what the fold needs. The fold does not change it, so it is shared.
func (s *Store) load(batch []reputation.Entry) reputation.Loaded {
	loaded := reputation.Loaded{
		Aggregates:   make(map[string]reputation.Aggregate, len(batch)),
		Population:   s.population,
		Fingerprints: map[string]string{},
	}

	for _, entry := range batch {
		if a, ok := s.aggregates[entry.Event.AgentID]; ok {
			loaded.Aggregates[entry.Event.AgentID] = a
		}

		if fingerprint, ok := s.fingerprints[entry.Event.ID]; ok {
			loaded.Fingerprints[entry.Event.ID] = fingerprint
		}
	}

	return loaded
}

// Get implements [reputation.Store].
func (s *Store) Get(ctx context.Context, agentID string) (reputation.Aggregate, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()

	if err := ctx.Err(); err != nil {
		return reputation.Aggregate{}, fmt.Errorf("get an aggregate: %w", err)
	}

	a, ok := s.aggregates[agentID]
	if !ok {
		return reputation.Aggregate{}, reputation.ErrNotFound
	}

	return a.Clone(), nil
}

// Population implements [reputation.Store].
func (s *Store) Population(ctx context.Context) (reputation.Moments, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()

	if err := ctx.Err(); err != nil {
		return reputation.Moments{}, fmt.Errorf("get the population: %w", err)
	}

	return s.population, nil
}

// Count implements [reputation.Store].
func (s *Store) Count(ctx context.Context) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()

	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("count the aggregates: %w", err)
	}

	return len(s.aggregates), nil
}

// Events implements [reputation.Store]. Positions are those in the log, from 1 and
// without gaps.
func (s *Store) Events(ctx context.Context, after int64, limit int) ([]reputation.Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()

	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}

	if limit < 1 || limit > reputation.MaxPage {
		limit = reputation.MaxPage
	}

	from := int(min(max(0, after), int64(len(s.log))))
	page := slices.Clone(s.log[from:min(len(s.log), from+limit)])

	for i := range page {
		page[i] = page[i].Clone()
	}

	return page, nil
}
