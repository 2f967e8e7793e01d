package reputationtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"dixie/reputation"
)

// The fold gets the state of the agents in the batch, the fingerprints of event
// ids that are known, and the population.
func testFoldSeesState(t *testing.T, store reputation.Store) {
	known := signal(t, "agent-1", 0.8)
	apply(t, store, known, signal(t, "agent-2", 0.4), signal(t, "agent-3", 0.2))

	fresh := signal(t, "agent-2", 0.5)
	batch := []reputation.Entry{known, fresh, signal(t, "agent-4", 0.5)}
	want := reputation.Loaded{
		Aggregates:   map[string]reputation.Aggregate{"agent-1": get(t, store, "agent-1"), "agent-2": get(t, store, "agent-2")},
		Population:   population(t, store),
		Fingerprints: map[string]string{known.Event.ID: known.Fingerprint},
	}

	_, err := store.Apply(t.Context(), batch, func(loaded reputation.Loaded, given []reputation.Entry) reputation.Changes {
		if diff := cmp.Diff(want, loaded, exact()); diff != "" {
			t.Errorf("loaded (-want +got):\n%s", diff)
		}

		if diff := cmp.Diff(batch, given, exact()); diff != "" {
			t.Errorf("batch (-want +got):\n%s", diff)
		}

		return reputation.FoldBatch(loaded, given)
	})
	if err != nil {
		t.Errorf("Apply: %v", err)
	}

	rebuilt(t, store)
}

// The store commits what the fold says and nothing of its own.
func testFoldDecides(t *testing.T, store reputation.Store) {
	apply(t, store, signal(t, "agent-1", 0.8))

	before := get(t, store, "agent-1")
	refusal := errors.New("not today")

	outcomes, err := store.Apply(t.Context(), []reputation.Entry{signal(t, "agent-1", 0.1), signal(t, "agent-2", 0.1)},
		func(loaded reputation.Loaded, batch []reputation.Entry) reputation.Changes {
			return reputation.Changes{Population: loaded.Population, Outcomes: make([]reputation.Outcome, len(batch))}
		})
	if err != nil || len(outcomes) != 2 {
		t.Fatalf("Apply: %v, %v", outcomes, err)
	}

	outcomes, err = store.Apply(t.Context(), []reputation.Entry{signal(t, "agent-1", 0.1)},
		func(loaded reputation.Loaded, _ []reputation.Entry) reputation.Changes {
			return reputation.Changes{Population: loaded.Population, Outcomes: []reputation.Outcome{{Err: refusal}}}
		})
	if err != nil || len(outcomes) != 1 || !errors.Is(outcomes[0].Err, refusal) {
		t.Errorf("Apply: %+v, %v; want the fold's outcome", outcomes, err)
	}

	if diff := cmp.Diff(before, get(t, store, "agent-1"), exact()); diff != "" {
		t.Errorf("the store changed an agent on its own:\n%s", diff)
	}

	if log := rebuilt(t, store); len(log) != 1 {
		t.Errorf("%d entries, want 1", len(log))
	}
}

// Whoever changes what a store returned, or what it was given, changes nothing in
// the store.
func testNothingShared(t *testing.T, store reputation.Store) {
	given := entry(t, reputation.Event{
		AgentID: "agent-1", Type: reputation.QualitySignal, Score: new(0.8), TaskType: reputation.TaskGeneral,
		Dimensions: map[string]float64{"accuracy": 0.9},
	})
	batch := []reputation.Entry{given}
	outcome := apply(t, store, batch...)[0].Aggregate
	want, log := get(t, store, "agent-1"), replay(t, store, 10)

	spoil := func(a reputation.Aggregate) {
		*a.PersonalScore = 7
		*a.BlendedScore = 7
		*a.Cohorts[0].PersonalScore = 7
		a.Cohorts[0].SampleCount = 7
		a.Dimensions["accuracy"] = 7
		a.Transitions[0].Trigger = "spoiled"
	}

	spoil(outcome)
	spoil(get(t, store, "agent-1"))

	*given.Event.Score = 7
	given.Event.Dimensions["accuracy"] = 7
	batch[0] = reputation.Entry{}

	page := replay(t, store, 10)
	*page[0].Event.Score = 7
	page[0].Event.Dimensions["accuracy"] = 7

	if diff := cmp.Diff(want, get(t, store, "agent-1"), exact()); diff != "" {
		t.Errorf("aggregate (-before +after):\n%s", diff)
	}

	if diff := cmp.Diff(log, replay(t, store, 10), exact()); diff != "" {
		t.Errorf("log (-before +after):\n%s", diff)
	}
}

func testCancelled(t *testing.T, store reputation.Store) {
	apply(t, store, signal(t, "agent-1", 0.8))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, applied := store.Apply(ctx, []reputation.Entry{signal(t, "agent-1", 0.1)}, reputation.FoldBatch)
	_, got := store.Get(ctx, "agent-1")
	_, populated := store.Population(ctx)
	_, counted := store.Count(ctx)
	_, read := store.Events(ctx, 0, 1)

	for name, err := range map[string]error{"Apply": applied, "Get": got, "Population": populated, "Count": counted, "Events": read} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: %v, want context.Canceled", name, err)
		}
	}

	if log := rebuilt(t, store); len(log) != 1 {
		t.Errorf("%d entries, want 1: an ended context committed", len(log))
	}
}

// Writers to the same agents lose nothing, and each writer's events keep their
// order.
func testConcurrentAgents(t *testing.T, store reputation.Store) {
	const writers, rounds, agents = 8, 12, 3

	var wg sync.WaitGroup

	for w := range writers {
		var batches [][]reputation.Entry
		for round := range rounds {
			batches = append(batches, []reputation.Entry{
				numbered(t, fmt.Sprintf("agent-%d", round%agents), w, 2*round),
				numbered(t, fmt.Sprintf("agent-%d", (round+w)%agents), w, 2*round+1),
			})
		}

		wg.Go(func() {
			for _, batch := range batches {
				if _, err := store.Apply(t.Context(), batch, reputation.FoldBatch); err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}

	wg.Wait()

	next := map[string]int64{}
	log := rebuilt(t, store)

	for _, e := range log {
		if want := next[e.Event.CollectionID]; *e.Event.Sequence != want {
			t.Errorf("%s: number %d where %d belongs", e.Event.CollectionID, *e.Event.Sequence, want)
		}

		next[e.Event.CollectionID]++
	}

	if len(log) != writers*rounds*2 {
		t.Errorf("%d entries, want %d", len(log), writers*rounds*2)
	}
}

// numbered makes an entry that tells its writer and its place.
func numbered(t *testing.T, agent string, writer, n int) reputation.Entry {
	t.Helper()

	return entry(t, reputation.Event{
		AgentID: agent, Type: reputation.QualitySignal, Score: new(float64(n%10) / 10),
		CollectionID: fmt.Sprintf("writer-%d", writer), Sequence: new(int64(n)),
	})
}

// Of those who record the same event at once, one does and the others are told so.
func testConcurrentSameEvents(t *testing.T, store reputation.Store) {
	const writers = 8

	var events []reputation.Entry
	for i := range 20 {
		events = append(events, signal(t, fmt.Sprintf("agent-%d", i%4), float64(i)/20))
	}

	var (
		wg       sync.WaitGroup
		recorded atomic.Int32
	)

	for w := range writers {
		wg.Go(func() {
			order := rand.New(rand.NewPCG(uint64(w), 1)).Perm(len(events)) //nolint:gosec // Any order will do.
			for _, i := range order {
				outcomes, err := store.Apply(t.Context(), events[i:i+1], reputation.FoldBatch)
				if err != nil || outcomes[0].Err != nil {
					t.Errorf("writer %d: %+v, %v", w, outcomes, err)

					return
				}

				if !outcomes[0].Duplicate {
					recorded.Add(1)
				}
			}
		})
	}

	wg.Wait()

	if log := rebuilt(t, store); len(log) != len(events) || int(recorded.Load()) != len(events) {
		t.Errorf("%d entries, %d recorded; want %d", len(log), recorded.Load(), len(events))
	}
}

// Of those who claim one event id for different contents, one wins.
func testConcurrentConflicts(t *testing.T, store reputation.Store) {
	const writers = 8

	id := uuid.NewString()

	var (
		wg   sync.WaitGroup
		won  atomic.Int32
		lost atomic.Int32
	)

	for w := range writers {
		claim := entry(t, reputation.Event{
			ID: id, AgentID: fmt.Sprintf("agent-%d", w%2), Type: reputation.QualitySignal, Score: new(float64(w) / writers),
		})

		wg.Go(func() {
			outcomes, err := store.Apply(t.Context(), []reputation.Entry{claim}, reputation.FoldBatch)

			switch {
			case err != nil:
				t.Errorf("writer %d: %v", w, err)
			case errors.Is(outcomes[0].Err, reputation.ErrEventConflict):
				lost.Add(1)
			case outcomes[0].Err == nil && !outcomes[0].Duplicate:
				won.Add(1)
			}
		})
	}

	wg.Wait()

	if log := rebuilt(t, store); won.Load() != 1 || lost.Load() != writers-1 || len(log) != 1 {
		t.Errorf("%d won, %d lost, %d entries; want 1, %d, 1", won.Load(), lost.Load(), len(log), writers-1)
	}
}

// A reader sees each batch as a whole or not at all.
func testConcurrentReaders(t *testing.T, store reputation.Store) {
	const rounds, size = 30, 4

	var (
		wg   sync.WaitGroup
		done = make(chan struct{})
	)

	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}

			log, err := store.Events(t.Context(), 0, reputation.MaxPage)
			if err != nil || len(log)%size != 0 {
				t.Errorf("a reader sees %d entries, %v", len(log), err)

				return
			}

			a, err := store.Get(t.Context(), "agent-1")
			if err == nil && (a.Version%size != 0 || a.Version < len(log)) {
				t.Errorf("a reader sees version %d after %d entries", a.Version, len(log))

				return
			}
		}
	})

	for range rounds {
		var batch []reputation.Entry
		for range size {
			batch = append(batch, signal(t, "agent-1", 0.5))
		}

		apply(t, store, batch...)
	}

	close(done)
	wg.Wait()
	rebuilt(t, store)
}

// Whatever was recorded, the aggregates follow from the log, bit for bit.
func testRebuild(t *testing.T, store reputation.Store) {
	for _, batch := range Random(rand.New(rand.NewPCG(21, 22)), 40, 12) { //nolint:gosec // The same log in each run.
		apply(t, store, batch...)
	}

	if log := rebuilt(t, store); len(log) < 100 {
		t.Errorf("only %d entries", len(log))
	}
}
