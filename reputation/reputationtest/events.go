package reputationtest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"dixie/reputation"
)

func testEventTypes(t *testing.T, store reputation.Store) {
	const agent = "agent-1"

	credential := entry(t, reputation.Event{
		AgentID: agent, Type: reputation.CredentialUpdate, CredentialID: uuid.NewString(), Action: reputation.CredentialIssued,
	})
	completed := func() reputation.Entry {
		return entry(t, reputation.Event{
			AgentID: agent, Type: reputation.TaskCompleted, TaskType: reputation.TaskAnalysis, Success: new(true),
		})
	}

	a := apply(t, store, credential)[0].Aggregate
	if a.State != reputation.Cold || a.PersonalScore != nil || a.BlendedScore != nil || a.Version != 1 {
		t.Errorf("after a credential update: %+v, want a cold aggregate", a)
	}

	a = apply(t, store, completed())[0].Aggregate
	if len(a.Cohorts) != 0 || a.SampleCount != 0 || a.Version != 2 {
		t.Errorf("after a task without cohort: %+v", a)
	}

	if m := population(t, store); m.Count != 0 {
		t.Errorf("population of %d without a score", m.Count)
	}

	apply(t, store, entry(t, reputation.Event{
		AgentID: agent, Type: reputation.QualitySignal, Score: new(0.9), TaskType: reputation.TaskAnalysis,
		Dimensions: map[string]float64{"accuracy": 0.9, "coherence": 0.7},
	}))
	apply(t, store, entry(t, reputation.Event{
		AgentID: agent, Type: reputation.ModelPerformance, Score: new(0.5), TaskType: "guild:audits",
		ModelID: "gpt-4o", Provider: "openai", PoolID: "pool_premium",
	}))

	a = apply(t, store, completed())[0].Aggregate
	if len(a.Cohorts) != 2 || a.Cohorts[0].SampleCount != 2 || score(a.Cohorts[0].PersonalScore) != "0.9" || a.Cohorts[1].ModelID != "gpt-4o" {
		t.Errorf("cohorts %+v", a.Cohorts)
	}

	if a.SampleCount != 2 || a.Version != 5 || len(a.Dimensions) != 2 || len(a.Transitions) != 1 {
		t.Errorf("in the end %+v", a)
	}

	rebuilt(t, store)
}

// Every field of an entry comes back as it was given.
func testEntriesSurvive(t *testing.T, store reputation.Store) {
	full := entry(t, reputation.Event{
		ID: "D9B2D63D-A233-4123-847A-7090A8A1F0C1", AgentID: "agent_1", Type: reputation.ModelPerformance,
		At: epoch.Add(-time.Hour), Recorder: "wallet:someone", CollectionID: "Größe “x” <&> \u2028 😀", Sequence: new(int64(math.MaxInt64)),
		Score: new(1.0 / 3), Dimensions: map[string]float64{"accuracy": 0.1, "b2": 1e-300}, TaskType: "guild-1:audits",
		ModelID: "gpt-4o", Provider: "open'ai", PoolID: `pool"\`, LatencyMS: new(int64(0)), EvaluatedBy: "somebody",
		RequestID: uuid.NewString(), DelegationID: uuid.NewString(),
	})
	task := entry(t, reputation.Event{
		AgentID: "agent-2", Type: reputation.TaskCompleted, TaskType: reputation.TaskGeneral, Success: new(false), DurationMS: new(int64(3_600_000)),
	})
	credential := entry(t, reputation.Event{
		AgentID: "agent-2", Type: reputation.CredentialUpdate, CredentialID: uuid.NewString(), Action: reputation.CredentialSuspended,
	})

	apply(t, store, full, task, credential)

	got := replay(t, store, 2)
	for i := range got {
		got[i].Position = 0
	}

	full.Prior, task.Prior, credential.Prior = 0.5, 1.0/3, 1.0/3

	if diff := cmp.Diff([]reputation.Entry{full, task, credential}, got, exact()); diff != "" {
		t.Errorf("log (-given +kept):\n%s", diff)
	}
}

func testDuplicate(t *testing.T, store reputation.Store) {
	first := signal(t, "agent-1", 0.8)
	outcomes := apply(t, store, first, signal(t, "agent-1", 0.4), first)

	if outcomes[0].Duplicate || outcomes[1].Duplicate || !outcomes[2].Duplicate || outcomes[2].Err != nil {
		t.Errorf("in one batch: %+v", outcomes)
	}

	again := apply(t, store, first)[0]
	if !again.Duplicate || again.Err != nil {
		t.Errorf("in another batch: %+v", again)
	}

	now := get(t, store, "agent-1")
	for i, a := range []reputation.Aggregate{outcomes[2].Aggregate, again.Aggregate} {
		if diff := cmp.Diff(now, a, exact()); diff != "" {
			t.Errorf("duplicate %d does not answer the aggregate as it is (-now +answer):\n%s", i, diff)
		}
	}

	if log := rebuilt(t, store); len(log) != 2 || now.SampleCount != 2 {
		t.Errorf("%d entries, %d samples; want 2", len(log), now.SampleCount)
	}
}

func testConflict(t *testing.T, store reputation.Store) {
	id := uuid.NewString()
	event := reputation.Event{ID: id, AgentID: "agent-1", Type: reputation.QualitySignal, Score: new(0.8)}

	apply(t, store, entry(t, event))

	before := get(t, store, "agent-1")

	other, elsewhere := event, event
	other.Score = new(0.7)
	elsewhere.AgentID = "agent-2"

	for i, outcome := range apply(t, store, entry(t, other), entry(t, elsewhere), entry(t, event)) {
		if wantConflict := i < 2; errors.Is(outcome.Err, reputation.ErrEventConflict) != wantConflict || outcome.Duplicate == wantConflict {
			t.Errorf("entry %d: %+v", i, outcome)
		}
	}

	if _, err := store.Get(t.Context(), "agent-2"); !errors.Is(err, reputation.ErrNotFound) {
		t.Errorf("a conflict made an agent: %v", err)
	}

	if diff := cmp.Diff(before, get(t, store, "agent-1"), exact()); diff != "" {
		t.Errorf("a conflict changed the agent:\n%s", diff)
	}

	rebuilt(t, store)
}

func testNeighbours(t *testing.T, store reputation.Store) {
	taken := signal(t, "agent-1", 0.8)
	apply(t, store, taken)

	clash := entry(t, reputation.Event{ID: taken.Event.ID, AgentID: "agent-1", Type: reputation.QualitySignal, Score: new(0.1)})
	outcomes := apply(t, store, signal(t, "agent-1", 0.6), clash, signal(t, "agent-2", 0.9), taken)

	for i, want := range []struct {
		duplicate, conflict bool
	}{{}, {conflict: true}, {}, {duplicate: true}} {
		got := outcomes[i]
		if got.Duplicate != want.duplicate || errors.Is(got.Err, reputation.ErrEventConflict) != want.conflict {
			t.Errorf("entry %d: %+v, want %+v", i, got, want)
		}
	}

	if log := rebuilt(t, store); len(log) != 3 {
		t.Errorf("%d entries in the log, want 3", len(log))
	}
}

func testBatchOrder(t *testing.T, store reputation.Store) {
	rng := rand.New(rand.NewPCG(11, 12)) //nolint:gosec // The same samples in each run.

	var want []string

	for range 5 {
		var batch []reputation.Entry
		for range 20 {
			batch = append(batch, signal(t, fmt.Sprintf("agent-%d", rng.IntN(3)), rng.Float64()))
		}

		for i, outcome := range apply(t, store, batch...) {
			if outcome.Aggregate.AgentID != batch[i].Event.AgentID {
				t.Errorf("outcome %d is about %s, want %s", i, outcome.Aggregate.AgentID, batch[i].Event.AgentID)
			}

			want = append(want, batch[i].Event.ID)
		}
	}

	var got []string
	for _, e := range rebuilt(t, store) {
		got = append(got, e.Event.ID)
	}

	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order of the log (-given +kept):\n%s", diff)
	}
}

// An agent counts once in the population, with its newest average.
func testPopulation(t *testing.T, store reputation.Store) {
	apply(t, store, signal(t, "agent-1", 0.8), signal(t, "agent-2", 0.6))
	apply(t, store, signal(t, "agent-1", 0.6))

	m := population(t, store)
	if m.Count != 2 || !near(m.Mean, 0.6892) || !near(m.M2, 0.01591328) || !near(m.Variance(), 0.00795664) {
		t.Errorf("population %+v, variance %v", m, m.Variance())
	}

	if n := count(t, store); n != 2 {
		t.Errorf("%d aggregates, want 2", n)
	}
}

func testPages(t *testing.T, store reputation.Store) {
	var batch []reputation.Entry
	for range 25 {
		batch = append(batch, signal(t, "agent-1", 0.5))
	}

	apply(t, store, batch...)

	for _, page := range []int{1, 7, 25, 1000} {
		if log := replay(t, store, page); len(log) != 25 {
			t.Errorf("%d entries in pages of %d, want 25", len(log), page)
		}
	}

	for _, limit := range []int{0, -1, math.MaxInt} {
		if log, err := store.Events(t.Context(), 0, limit); err != nil || len(log) != 25 {
			t.Errorf("Events(0, %d): %d entries, %v", limit, len(log), err)
		}
	}

	for _, after := range []int64{-1, math.MinInt64} {
		if log, err := store.Events(t.Context(), after, 3); err != nil || len(log) != 3 {
			t.Errorf("Events(%d, 3): %d entries, %v", after, len(log), err)
		}
	}

	if log, err := store.Events(t.Context(), math.MaxInt64, 3); err != nil || len(log) != 0 {
		t.Errorf("after the end: %d entries, %v", len(log), err)
	}
}

func testLargeBatch(t *testing.T, store reputation.Store) {
	const size = reputation.MaxPage + 50

	batch := make([]reputation.Entry, size)
	for i := range batch {
		batch[i] = signal(t, fmt.Sprintf("agent-%d", i%10), float64(i%7)/7)
	}

	apply(t, store, batch...)

	if log, err := store.Events(t.Context(), 0, size); err != nil || len(log) != reputation.MaxPage {
		t.Errorf("one page has %d entries, %v; want %d", len(log), err, reputation.MaxPage)
	}

	if log := rebuilt(t, store); len(log) != size {
		t.Errorf("%d entries, want %d", len(log), size)
	}
}

// The numbers of cohorts and dimensions are bounded, and stay so in the store.
func testBounds(t *testing.T, store reputation.Store) {
	var batch []reputation.Entry

	for i := range reputation.MaxCohorts + 5 {
		batch = append(batch, entry(t, reputation.Event{
			AgentID: "agent-1", Type: reputation.ModelPerformance, Score: new(0.5), TaskType: reputation.TaskGeneral,
			ModelID: fmt.Sprintf("model-%02d", i), Provider: "p", PoolID: "p",
			Dimensions: map[string]float64{fmt.Sprintf("name_%02d", i): 0.5},
		}))
	}

	apply(t, store, batch...)

	a := get(t, store, "agent-1")
	if len(a.Cohorts) != reputation.MaxCohorts || len(a.Dimensions) != reputation.MaxDimensions {
		t.Errorf("%d cohorts, %d dimensions", len(a.Cohorts), len(a.Dimensions))
	}

	rebuilt(t, store)
}

// Scores keep all their bits on the way through the store.
func testExtremes(t *testing.T, store reputation.Store) {
	for i, extreme := range []float64{
		0, math.Copysign(0, -1), 1, math.Nextafter(1, 0), math.SmallestNonzeroFloat64, math.Nextafter(0.1, 1), 1.0 / 3, 1e-17,
	} {
		agent := fmt.Sprintf("agent-%d", i)
		apply(t, store, signal(t, agent, extreme))

		want := extreme
		if want == 0 {
			want = 0 // One zero, without a sign.
		}

		if got := get(t, store, agent).PersonalScore; math.Float64bits(*got) != math.Float64bits(want) {
			t.Errorf("%v came back as %v", extreme, *got)
		}
	}

	rebuilt(t, store)
}

// Times are those of the sender, late ones do not make evidence older, and all of
// them come back.
func testTimestamps(t *testing.T, store reputation.Store) {
	zone := time.FixedZone("somewhere", 5*3600)

	times := []time.Time{
		time.Date(1, time.January, 1, 0, 0, 0, 1000, time.UTC),
		epoch.Add(-time.Hour).In(zone),
		epoch.Add(-48 * time.Hour),
		epoch.Add(5*time.Minute + 999*time.Nanosecond - time.Microsecond),
	}
	for _, at := range times {
		apply(t, store, entry(t, reputation.Event{AgentID: "agent-1", Type: reputation.QualitySignal, Score: new(0.5), At: at}))
	}

	log := rebuilt(t, store)
	for i, e := range log {
		if want := times[i].Truncate(time.Microsecond); !e.Event.At.Equal(want) || e.Event.At.Location() != time.UTC || !e.RecordedAt.Equal(epoch) {
			t.Errorf("entry %d: at %v, recorded %v; want %v, %v", i, e.Event.At, e.RecordedAt, want, epoch)
		}
	}

	if got, want := get(t, store, "agent-1").LastUpdated, slices.MaxFunc(times, time.Time.Compare).Truncate(time.Microsecond); !got.Equal(want) {
		t.Errorf("last updated %v, want %v", got, want)
	}
}
