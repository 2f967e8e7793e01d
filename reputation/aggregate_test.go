package reputation_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"dixie/reputation"
	"dixie/reputation/reputationtest"
)

//nolint:gochecknoglobals // A constant that the language cannot write as one.
var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func newEntry(t testing.TB, e reputation.Event) reputation.Entry {
	t.Helper()

	if e.ID == "" {
		e.ID = uuid.NewString()
	}

	if e.AgentID == "" {
		e.AgentID = "agent-1"
	}

	entry, err := reputation.NewEntry(e, noon)
	if err != nil {
		t.Fatalf("NewEntry: %v", err)
	}

	return entry
}

func quality(t testing.TB, score float64, dimensions map[string]float64) reputation.Entry {
	t.Helper()

	e := newEntry(t, reputation.Event{Type: reputation.QualitySignal, Score: &score, Dimensions: dimensions})
	e.Prior = reputation.NeutralPrior

	return e
}

// Dimensions keep their averages, and are blended when they are read.
func TestDimensions(t *testing.T) {
	t.Parallel()

	first := reputation.Next(nil, quality(t, 0.9, map[string]float64{"accuracy": 0.9, "coherence": 0.7}))
	scores := first.DimensionScores()

	if !near(scores["accuracy"], 0.5363636363636364) || !near(scores["coherence"], 0.5181818181818182) {
		t.Errorf("after the first sample: %v", scores)
	}

	second := reputation.Next(&first, quality(t, 0.5, map[string]float64{"accuracy": 0.5}))
	want := map[string]float64{"accuracy": 0.108*0.5 + 0.892*0.9, "coherence": 0.7}

	if !near(second.Dimensions["accuracy"], want["accuracy"]) || second.Dimensions["coherence"] != want["coherence"] {
		t.Errorf("averages %v, want %v", second.Dimensions, want)
	}

	scores = second.DimensionScores()
	for name, average := range want {
		if blended := (10*0.5 + 2*average) / 12; !near(scores[name], blended) {
			t.Errorf("%s reads %v, want %v", name, scores[name], blended)
		}
	}

	if first.Dimensions["accuracy"] != 0.9 {
		t.Error("the aggregate before was changed")
	}
}

func TestDimensionBound(t *testing.T) {
	t.Parallel()

	names := func(from, to int) map[string]float64 {
		m := map[string]float64{}
		for i := from; i < to; i++ {
			m[fmt.Sprintf("name_%02d", i)] = 0.5
		}

		return m
	}

	a := reputation.Next(nil, quality(t, 0.5, names(10, 28)))
	a = reputation.Next(&a, quality(t, 0.5, names(0, 12)))

	want := names(10, 28)
	want["name_00"], want["name_01"] = 0.5, 0.5

	if diff := cmp.Diff(want, a.Dimensions); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestStatesFollowSamples(t *testing.T) {
	t.Parallel()

	var a reputation.Aggregate

	before := func() *reputation.Aggregate {
		if a.Version == 0 {
			return nil
		}

		return &a
	}

	for n := 1; n <= 95; n++ {
		a = reputation.Next(before(), quality(t, 0.5, nil))

		want := reputation.Warming
		if n >= 91 {
			want = reputation.Authoritative
		} else if n >= 10 {
			want = reputation.Established
		}

		if a.State != want || a.SampleCount != n {
			t.Fatalf("after %d samples: %s with %d, want %s", n, a.State, a.SampleCount, want)
		}
	}

	want := []reputation.Transition{
		{From: reputation.Cold, To: reputation.Warming, At: noon, Trigger: "first_sample"},
		{From: reputation.Warming, To: reputation.Established, At: noon, Trigger: "min_sample_count"},
		{From: reputation.Established, To: reputation.Authoritative, At: noon, Trigger: "personal_weight"},
	}
	if diff := cmp.Diff(want, a.Transitions); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}

	for _, move := range a.Transitions {
		if !reputation.CanMove(move.From, move.To) {
			t.Errorf("%s -> %s is not a valid move", move.From, move.To)
		}
	}
}

func TestCohorts(t *testing.T) {
	t.Parallel()

	observe := func(model string, taskType reputation.TaskType, score float64) reputation.Entry {
		e := reputation.Event{Type: reputation.QualitySignal, Score: &score, TaskType: taskType}
		if model != "" {
			e.Type, e.ModelID, e.Provider, e.PoolID = reputation.ModelPerformance, model, "p", "p"
		}

		return newEntry(t, e)
	}
	done := func(taskType reputation.TaskType) reputation.Entry {
		return newEntry(t, reputation.Event{Type: reputation.TaskCompleted, TaskType: taskType, Success: new(true)})
	}

	a := reputation.Next(nil, observe("zeta", reputation.TaskGeneral, 0.8))
	for _, e := range []reputation.Entry{
		observe("zeta", reputation.TaskGeneral, 0.6),
		observe("alpha", reputation.TaskGeneral, 0.4),
		observe("alpha", reputation.TaskUnspecified, 0.4),
		observe("", reputation.TaskGeneral, 0.3),
		observe("", "", 0.3),
		observe("", reputation.TaskUnspecified, 0.3),
		done(reputation.TaskGeneral),
		done(reputation.TaskAnalysis),
		done(reputation.TaskUnspecified),
	} {
		a = reputation.Next(&a, e)
	}

	want := []reputation.Cohort{
		{ModelID: "alpha", TaskType: reputation.TaskGeneral, PersonalScore: new(0.4), SampleCount: 1, LastUpdated: noon},
		{ModelID: "default", TaskType: reputation.TaskGeneral, PersonalScore: new(0.3), SampleCount: 2, LastUpdated: noon},
		{ModelID: "zeta", TaskType: reputation.TaskGeneral, PersonalScore: new(0.7784), SampleCount: 2, LastUpdated: noon},
	}
	if diff := cmp.Diff(want, a.Cohorts, cmp.Comparer(near)); diff != "" {
		t.Errorf("cohorts (-want +got):\n%s", diff)
	}
}

func TestCohortBound(t *testing.T) {
	t.Parallel()

	var a *reputation.Aggregate

	for round := range 2 {
		for i := range reputation.MaxCohorts + 10 {
			next := reputation.Next(a, newEntry(t, reputation.Event{
				Type: reputation.ModelPerformance, Score: new(0.5), TaskType: reputation.TaskGeneral,
				ModelID: fmt.Sprintf("model-%02d", reputation.MaxCohorts+10-i), Provider: "p", PoolID: "p",
			}))
			a = &next
		}

		if len(a.Cohorts) != reputation.MaxCohorts || a.Cohorts[0].ModelID != "model-11" || a.Cohorts[0].SampleCount != round+1 {
			t.Errorf("round %d: %d cohorts from %+v", round, len(a.Cohorts), a.Cohorts[0])
		}
	}
}

func TestPriorFor(t *testing.T) {
	t.Parallel()

	held := &reputation.Aggregate{CollectionScore: 0.3}

	for _, tc := range []struct {
		name       string
		aggregate  *reputation.Aggregate
		population reputation.Moments
		want       float64
	}{
		{"nothing", nil, reputation.Moments{}, 0.5},
		{"no population", held, reputation.Moments{}, 0.3},
		{"population", held, reputation.Moments{Count: 2, Mean: 0.7}, 0.7},
	} {
		if got := reputation.PriorFor(tc.aggregate, tc.population); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Folding the log that a fold produced gives the same state, bit for bit, and so
// does folding it in batches of another size.
func TestRebuildIsBitEqual(t *testing.T) {
	t.Parallel()

	for seed := range uint64(20) {
		state := reputation.Projection{Aggregates: map[string]reputation.Aggregate{}}
		known := map[string]string{}

		var log []reputation.Entry

		for _, batch := range reputationtest.Random(rand.New(rand.NewPCG(seed, 9)), 30, 10) {
			changes := reputation.FoldBatch(reputation.Loaded{
				Aggregates: state.Aggregates, Population: state.Population, Fingerprints: known,
			}, batch)

			log = append(log, changes.Entries...)
			state.Population = changes.Population

			maps.Copy(state.Aggregates, changes.Aggregates)

			for _, e := range changes.Entries {
				known[e.Event.ID] = e.Fingerprint
			}
		}

		if diff := cmp.Diff(state, reputation.Rebuild(slices.Values(log)), bits()); diff != "" {
			t.Fatalf("seed %d (-fold +rebuild):\n%s", seed, diff)
		}

		unapplied := slices.Clone(log)
		for i := range unapplied {
			unapplied[i].Prior = 0
		}

		whole := reputation.FoldBatch(reputation.Loaded{}, unapplied)
		if diff := cmp.Diff(log, whole.Entries, bits()); diff != "" {
			t.Fatalf("seed %d, in one batch (-log +got):\n%s", seed, diff)
		}

		checkProjection(t, state)
	}
}

// checkProjection states what holds for any log.
func checkProjection(t *testing.T, p reputation.Projection) {
	t.Helper()

	scored := 0

	for agent, a := range p.Aggregates {
		if (a.PersonalScore == nil) != (a.State == reputation.Cold) || (a.BlendedScore == nil) != (a.State == reputation.Cold) {
			t.Fatalf("%s is %s with %v, %v", agent, a.State, a.PersonalScore, a.BlendedScore)
		}

		if a.PersonalScore != nil {
			scored++

			if blended := reputation.Blend(a.CollectionScore, a.PersonalScore, a.SampleCount); blended != *a.BlendedScore {
				t.Fatalf("%s holds the blend %v, its parts make %v", agent, *a.BlendedScore, blended)
			}
		}

		for name, score := range a.DimensionScores() {
			if score < 0 || score > 1 {
				t.Fatalf("%s: %s is %v", agent, name, score)
			}
		}

		if len(a.Cohorts) > reputation.MaxCohorts || len(a.Dimensions) > reputation.MaxDimensions || a.SampleCount > a.Version {
			t.Fatalf("%s: %+v", agent, a)
		}
	}

	if p.Population.Count != scored {
		t.Fatalf("population of %d, %d agents have a score", p.Population.Count, scored)
	}
}

// Stores keep aggregates and entries as JSON.
func TestJSONLosesNothing(t *testing.T) {
	t.Parallel()

	for _, batch := range reputationtest.Random(rand.New(rand.NewPCG(1, 1)), 40, 10) {
		for _, entry := range batch {
			data, err := json.Marshal(entry)
			if err != nil {
				t.Fatal(err)
			}

			var back reputation.Entry
			if err := json.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}

			if diff := cmp.Diff(entry, back, bits()); diff != "" {
				t.Fatalf("entry (-before +after):\n%s", diff)
			}
		}

		for _, a := range reputation.Rebuild(slices.Values(batch)).Aggregates {
			data, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}

			var back reputation.Aggregate
			if err := json.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}

			if len(a.Dimensions) == 0 {
				a.Dimensions = nil
			}

			if diff := cmp.Diff(a, back, bits()); diff != "" {
				t.Fatalf("aggregate (-before +after):\n%s", diff)
			}
		}
	}
}

func BenchmarkNext(b *testing.B) {
	entry := quality(b, 0.7, map[string]float64{"accuracy": 0.9, "coherence": 0.8})

	for _, cohorts := range []int{0, reputation.MaxCohorts} {
		a := reputation.Next(nil, entry)

		for i := range cohorts {
			a = reputation.Next(&a, newEntry(b, reputation.Event{
				Type: reputation.ModelPerformance, Score: new(0.5), TaskType: reputation.TaskGeneral,
				ModelID: fmt.Sprintf("model-%d", i), Provider: "p", PoolID: "p",
			}))
		}

		b.Run(fmt.Sprintf("cohorts=%d", cohorts), func(b *testing.B) {
			b.ReportAllocs()

			for b.Loop() {
				reputation.Next(&a, entry)
			}
		})
	}
}
