// Package reputationtest holds stores of package reputation to their description.
// An implementation calls [Run] from its tests; whatever passes may be put under
// [reputation.Service]. The package imports testing and belongs into _test files.
package reputationtest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"dixie/reputation"
)

// Run checks a store. The factory is called once for each check, from parallel
// subtests; it returns an empty store that nobody else uses and arranges for its
// end with t.Cleanup.
func Run(t *testing.T, newStore func(t *testing.T) reputation.Store) {
	t.Helper()

	for name, check := range map[string]func(*testing.T, reputation.Store){
		"Empty":                 testEmpty,
		"FirstEvent":            testFirstEvent,
		"WorkedNumbers":         testWorkedNumbers,
		"EventTypes":            testEventTypes,
		"EntriesSurvive":        testEntriesSurvive,
		"Duplicate":             testDuplicate,
		"Conflict":              testConflict,
		"NeighboursOfConflict":  testNeighbours,
		"BatchOrder":            testBatchOrder,
		"Population":            testPopulation,
		"Pages":                 testPages,
		"LargeBatch":            testLargeBatch,
		"FoldSeesState":         testFoldSeesState,
		"FoldDecides":           testFoldDecides,
		"NothingShared":         testNothingShared,
		"Cancelled":             testCancelled,
		"ConcurrentAgents":      testConcurrentAgents,
		"ConcurrentSameEvents":  testConcurrentSameEvents,
		"ConcurrentConflicts":   testConcurrentConflicts,
		"ConcurrentReaders":     testConcurrentReaders,
		"RebuildIsBitEqual":     testRebuild,
		"CohortAndNameBounds":   testBounds,
		"ExtremeScoresSurvive":  testExtremes,
		"OldAndEarlyTimestamps": testTimestamps,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, newStore(t))
		})
	}
}

// epoch is the time at which the suite's events are recorded.
var epoch = time.Date(2026, time.March, 1, 12, 0, 0, 123_456_000, time.UTC) //nolint:gochecknoglobals // A constant that time.Time cannot be.

// entry makes an entry or ends the test.
func entry(t *testing.T, e reputation.Event) reputation.Entry {
	t.Helper()

	if e.ID == "" {
		e.ID = uuid.NewString()
	}

	made, err := reputation.NewEntry(e, epoch)
	if err != nil {
		t.Fatalf("NewEntry(%+v): %v", e, err)
	}

	return made
}

// signal makes the entry of a quality signal.
func signal(t *testing.T, agent string, score float64) reputation.Entry {
	t.Helper()

	return entry(t, reputation.Event{AgentID: agent, Type: reputation.QualitySignal, Score: &score})
}

// apply records a batch with the package's fold, or ends the test.
func apply(t *testing.T, store reputation.Store, batch ...reputation.Entry) []reputation.Outcome {
	t.Helper()

	outcomes, err := store.Apply(t.Context(), batch, reputation.FoldBatch)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}

	if len(outcomes) != len(batch) {
		t.Fatalf("Apply of %d entries gave %d outcomes", len(batch), len(outcomes))
	}

	return outcomes
}

// get reads an aggregate, or ends the test.
func get(t *testing.T, store reputation.Store, agent string) reputation.Aggregate {
	t.Helper()

	a, err := store.Get(t.Context(), agent)
	if err != nil {
		t.Fatalf("Get(%s): %v", agent, err)
	}

	return a
}

// population reads the population, or ends the test.
func population(t *testing.T, store reputation.Store) reputation.Moments {
	t.Helper()

	m, err := store.Population(t.Context())
	if err != nil {
		t.Fatalf("Population: %v", err)
	}

	return m
}

// count reads the number of aggregates, or ends the test.
func count(t *testing.T, store reputation.Store) int {
	t.Helper()

	n, err := store.Count(t.Context())
	if err != nil {
		t.Fatalf("Count: %v", err)
	}

	return n
}

// replay reads the whole log in small pages, or ends the test.
func replay(t *testing.T, store reputation.Store, page int) []reputation.Entry {
	t.Helper()

	var (
		log  []reputation.Entry
		last int64
	)

	for {
		entries, err := store.Events(t.Context(), last, page)
		if err != nil {
			t.Fatalf("Events(%d, %d): %v", last, page, err)
		}

		if len(entries) == 0 {
			return log
		}

		if len(entries) > page {
			t.Fatalf("Events(%d, %d) returned %d entries", last, page, len(entries))
		}

		for _, e := range entries {
			if e.Position <= last {
				t.Fatalf("position %d after %d", e.Position, last)
			}

			last = e.Position
		}

		log = append(log, entries...)
	}
}

// rebuilt checks that the store is what follows from its log, bit for bit, and
// returns the log.
func rebuilt(t *testing.T, store reputation.Store) []reputation.Entry {
	t.Helper()

	log := replay(t, store, 100)
	p := reputation.Rebuild(slices.Values(log))

	if n := count(t, store); n != len(p.Aggregates) {
		t.Errorf("%d aggregates, the log makes %d", n, len(p.Aggregates))
	}

	for _, agent := range slices.Sorted(maps.Keys(p.Aggregates)) {
		if diff := cmp.Diff(p.Aggregates[agent], get(t, store, agent), exact()); diff != "" {
			t.Fatalf("%s is not what its log makes (-log +store):\n%s", agent, diff)
		}
	}

	if diff := cmp.Diff(p.Population, population(t, store), exact()); diff != "" {
		t.Errorf("population is not what the log makes (-log +store):\n%s", diff)
	}

	return log
}

// exact compares floats by their bits, and takes absent and empty collections for
// the same, between which a store need not tell.
func exact() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }),
		cmp.FilterValues(func(a, b []reputation.Cohort) bool { return len(a)+len(b) == 0 }, cmp.Ignore()),
		cmp.FilterValues(func(a, b []reputation.Transition) bool { return len(a)+len(b) == 0 }, cmp.Ignore()),
		cmp.FilterValues(func(a, b map[string]float64) bool { return len(a)+len(b) == 0 }, cmp.Ignore()),
	}
}

// near reports whether two numbers agree to twelve decimals.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12 }

// score shows an optional number.
func score(p *float64) string {
	if p == nil {
		return "nil"
	}

	return fmt.Sprintf("%v", *p)
}

func testEmpty(t *testing.T, store reputation.Store) {
	if _, err := store.Get(t.Context(), "nobody"); !errors.Is(err, reputation.ErrNotFound) {
		t.Errorf("Get of nobody: %v, want ErrNotFound", err)
	}

	if n, m := count(t, store), population(t, store); n != 0 || m != (reputation.Moments{}) {
		t.Errorf("%d aggregates, population %+v; want none", n, m)
	}

	if log := replay(t, store, 10); len(log) != 0 {
		t.Errorf("%d entries in an empty log", len(log))
	}

	outcomes, err := store.Apply(t.Context(), nil, reputation.FoldBatch)
	if err != nil || len(outcomes) != 0 {
		t.Errorf("Apply of nothing: %v, %v", outcomes, err)
	}
}

func testFirstEvent(t *testing.T, store reputation.Store) {
	outcome := apply(t, store, signal(t, "agent-1", 0.8))[0]
	if outcome.Duplicate || outcome.Err != nil {
		t.Fatalf("outcome %+v", outcome)
	}

	a := get(t, store, "agent-1")
	if diff := cmp.Diff(outcome.Aggregate, a, exact()); diff != "" {
		t.Errorf("Get differs from the outcome (-outcome +Get):\n%s", diff)
	}

	if a.State != reputation.Warming || a.SampleCount != 1 || a.Version != 1 || score(a.PersonalScore) != "0.8" || a.CollectionScore != 0.5 {
		t.Errorf("%+v", a)
	}

	if _, err := store.Get(t.Context(), "AGENT-1"); !errors.Is(err, reputation.ErrNotFound) {
		t.Errorf("Get in another case: %v, want ErrNotFound", err)
	}

	rebuilt(t, store)
}

// One agent alone is its own population from the second event on.
func testWorkedNumbers(t *testing.T, store reputation.Store) {
	samples := []float64{0.8, 0.6, 1.0, 0.4, 0.9}
	averages := []float64{0.8, 0.7784, 0.8041056, 0.7539965056, 0.7732689668608}
	priors := []float64{0.5, 0.8, 0.7784, 0.8041056, 0.7539965056}

	for i, sample := range samples {
		a := apply(t, store, signal(t, "agent-1", sample))[0].Aggregate
		if !near(*a.PersonalScore, averages[i]) || !near(a.CollectionScore, priors[i]) {
			t.Errorf("sample %d: average %v, prior %v; want %v, %v", i+1, *a.PersonalScore, a.CollectionScore, averages[i], priors[i])
		}

		n := float64(i + 1)
		if want := (10*priors[i] + n*averages[i]) / (10 + n); !near(*a.BlendedScore, want) {
			t.Errorf("sample %d: blend %v, want %v", i+1, *a.BlendedScore, want)
		}
	}

	for i, e := range rebuilt(t, store) {
		if !near(e.Prior, priors[i]) {
			t.Errorf("entry %d keeps the prior %v, want %v", i+1, e.Prior, priors[i])
		}
	}
}
