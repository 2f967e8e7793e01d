package reputation_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/reputation"
)

func TestAlpha(t *testing.T) {
	t.Parallel()

	for n, want := range map[int]float64{-3: 0.1, 0: 0.1, 1: 0.108, 10: 0.18, 25: 0.3, 50: 0.5, 500: 0.5} {
		if got := reputation.Alpha(n); !near(got, want) {
			t.Errorf("Alpha(%d) = %v, want %v", n, got, want)
		}
	}
}

func TestEMA(t *testing.T) {
	t.Parallel()

	for _, tc := range []struct {
		old    *float64
		sample float64
		n      int
		want   float64
	}{
		{nil, 0.8, 0, 0.8},
		{new(0.8), 0.6, 1, 0.7784},
		{new(0.8), 0.6, 10, 0.764},
		{new(0.5), 1, 25, 0.65},
		{new(0.5), 1, 50, 0.75},
		{new(0.9), 0.1, 500, 0.5},
	} {
		if got := reputation.EMA(tc.old, tc.sample, tc.n); !near(got, tc.want) {
			t.Errorf("EMA(%v, %v, %d) = %v, want %v", tc.old, tc.sample, tc.n, got, tc.want)
		}
	}
}

func TestEMAAndBlendOfSequence(t *testing.T) {
	t.Parallel()

	samples := []float64{0.8, 0.6, 1.0, 0.4, 0.9}
	averages := []float64{0.8, 0.7784, 0.8041056, 0.7539965056, 0.7732689668608}
	blends := []float64{0.5272727272727272, 0.5464, 0.5701782153846154, 0.5725704301714286, 0.5910896556202666}

	var average *float64

	for i, sample := range samples {
		average = new(reputation.EMA(average, sample, i))

		if blend := reputation.Blend(0.5, average, i+1); !near(*average, averages[i]) || !near(blend, blends[i]) {
			t.Errorf("sample %d: average %v, blend %v; want %v, %v", i+1, *average, blend, averages[i], blends[i])
		}
	}
}

func TestBlend(t *testing.T) {
	t.Parallel()

	for _, tc := range []struct {
		prior   float64
		average *float64
		n       int
		want    float64
	}{
		{0.5, new(0.9), 30, 0.8},
		{0.3, nil, 30, 0.3},
		{0.3, new(0.9), 0, 0.3},
		{0.3, new(0.9), -5, 0.3},
	} {
		if got := reputation.Blend(tc.prior, tc.average, tc.n); !near(got, tc.want) {
			t.Errorf("Blend(%v, %v, %d) = %v, want %v", tc.prior, tc.average, tc.n, got, tc.want)
		}
	}
}

func TestPersonalWeight(t *testing.T) {
	t.Parallel()

	for n, want := range map[int]float64{-1: 0, 0: 0, 10: 0.5, 90: 0.9, 91: 0.900990099009901} {
		if got := reputation.PersonalWeight(n); !near(got, want) {
			t.Errorf("PersonalWeight(%d) = %v, want %v", n, got, want)
		}
	}
}

func TestDecay(t *testing.T) {
	t.Parallel()

	const day = 24 * time.Hour

	for _, tc := range []struct {
		n    float64
		age  time.Duration
		want float64
	}{
		{100, 30 * day, 50},
		{100, 60 * day, 25},
		{40, 7 * day, 34.026686438034226},
		{100, 0, 100},
		{100, -day, 100},
	} {
		if got := reputation.Decay(tc.n, tc.age); !near(got, tc.want) {
			t.Errorf("Decay(%v, %v) = %v, want %v", tc.n, tc.age, got, tc.want)
		}
	}
}

// An average lies between what it averages, and a blend between average and prior,
// to the last bit.
func TestScoringStaysInRange(t *testing.T) {
	t.Parallel()

	rng := rand.New(rand.NewPCG(5, 6))
	pick := func() float64 {
		switch rng.IntN(6) {
		case 0:
			return 0
		case 1:
			return 1
		case 2:
			return math.Nextafter(1, 0)
		default:
			return rng.Float64()
		}
	}

	for range 20_000 {
		old, sample, prior, n := pick(), pick(), pick(), rng.IntN(200)

		average := reputation.EMA(&old, sample, n)
		if average < 0 || average > 1 || average < min(old, sample)-1e-15 || average > max(old, sample)+1e-15 {
			t.Fatalf("EMA(%v, %v, %d) = %v", old, sample, n, average)
		}

		blend := reputation.Blend(prior, &average, n)
		if blend < 0 || blend > 1 || blend < min(prior, average)-1e-15 || blend > max(prior, average)+1e-15 {
			t.Fatalf("Blend(%v, %v, %d) = %v", prior, average, n, blend)
		}
	}
}

func TestMomentsAdd(t *testing.T) {
	t.Parallel()

	var m reputation.Moments
	if m.Variance() != 0 {
		t.Errorf("variance of nobody is %v", m.Variance())
	}

	for _, x := range []float64{0.8, 0.6, 0.7, 0.9} {
		m = m.Add(x)
	}

	if m.Count != 4 || !near(m.Mean, 0.75) || !near(m.M2, 0.05000000000000002) || !near(m.Variance(), 0.012500000000000004) {
		t.Errorf("%+v, variance %v", m, m.Variance())
	}
}

func TestMomentsReplace(t *testing.T) {
	t.Parallel()

	m := reputation.Moments{}.Add(0.8).Add(0.6).Replace(0.8, 0.7784)
	if !near(m.Mean, 0.6892) || !near(m.M2, 0.01591328) || !near(m.Variance(), 0.00795664) {
		t.Errorf("%+v, variance %v", m, m.Variance())
	}

	if diff := cmp.Diff(reputation.Moments{Count: 1, Mean: 0.3}, reputation.Moments{}.Add(0.9).Replace(0.9, 0.3), bits()); diff != "" {
		t.Errorf("a lone agent (-want +got):\n%s", diff)
	}

	if diff := cmp.Diff(reputation.Moments{}.Add(0.3), reputation.Moments{}.Replace(0.9, 0.3), bits()); diff != "" {
		t.Errorf("nobody (-want +got):\n%s", diff)
	}
}

// After any number of replacements the moments are those of the values that stand.
func TestMomentsAgreeWithValues(t *testing.T) {
	t.Parallel()

	rng := rand.New(rand.NewPCG(7, 8))

	var (
		m      reputation.Moments
		values []float64
	)

	for range 5000 {
		x := rng.Float64()

		if len(values) < 3 || (len(values) < 50 && rng.IntN(4) == 0) {
			values = append(values, x)
			m = m.Add(x)
		} else {
			i := rng.IntN(len(values))
			m = m.Replace(values[i], x)
			values[i] = x
		}
	}

	var sum, squares float64
	for _, v := range values {
		sum += v
	}

	mean := sum / float64(len(values))
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}

	if m.Count != len(values) || math.Abs(m.Mean-mean) > 1e-11 || math.Abs(m.M2-squares) > 1e-10 {
		t.Errorf("%+v, want %d values, mean %v, m2 %v", m, len(values), mean, squares)
	}
}

// Rounding must not carry the moments out of their range.
func TestMomentsStayInRange(t *testing.T) {
	t.Parallel()

	m := reputation.Moments{}.Add(0).Add(1e-17).Add(0)
	for _, step := range [][2]float64{{1e-17, 1}, {1, 0}, {0, 0.1}, {0.1, 0}, {0, 1}, {1, 1e-300}, {1e-300, 0}} {
		m = m.Replace(step[0], step[1])
		if m.Mean < 0 || m.Mean > 1 || m.M2 < 0 || m.Variance() < 0 {
			t.Fatalf("after %v: %+v", step, m)
		}
	}
}

func TestCrossModelScore(t *testing.T) {
	t.Parallel()

	cohorts := []reputation.Cohort{
		{ModelID: "gpt-4o", TaskType: reputation.TaskCodeReview, PersonalScore: new(0.9), SampleCount: 10},
		{ModelID: "native", TaskType: reputation.TaskAnalysis, PersonalScore: new(0.6), SampleCount: 20},
		{ModelID: "native", TaskType: reputation.TaskGeneral, SampleCount: 30},
	}

	if got := reputation.CrossModelScore(cohorts); got == nil || !near(*got, 0.7) {
		t.Errorf("CrossModelScore = %v, want 0.7", got)
	}

	if got := reputation.TaskAwareScore(cohorts, reputation.TaskCodeReview); got == nil || !near(*got, 0.78) {
		t.Errorf("TaskAwareScore = %v, want 0.78", got)
	}

	for _, none := range [][]reputation.Cohort{nil, cohorts[2:], {{PersonalScore: new(0.5)}}} {
		if got := reputation.CrossModelScore(none); got != nil {
			t.Errorf("CrossModelScore(%v) = %v, want nil", none, *got)
		}
	}
}

func TestAssess(t *testing.T) {
	t.Parallel()

	const (
		day   = 24 * time.Hour
		few   = "sample_count (2) below minimum threshold (5)"
		old   = "last update (61 days ago) is older than 60 days"
		stale = "last update (61 days ago) is older than 30 days and the count is not decayed"
	)

	for _, tc := range []struct {
		name    string
		n       int
		age     time.Duration
		decayed bool
		want    []string
	}{
		{"enough and fresh", 5, 0, false, []string{}},
		{"from the future", 5, -day, false, []string{}},
		{"few", 2, 0, false, []string{few}},
		{"exactly 30 days", 5, 30 * day, false, []string{}},
		{"31 days", 5, 31 * day, false, []string{"last update (31 days ago) is older than 30 days and the count is not decayed"}},
		{"31 days, decayed", 5, 31 * day, true, []string{}},
		{"exactly 60 days, decayed", 5, 60 * day, true, []string{}},
		{"61 days, decayed", 5, 61 * day, true, []string{old}},
		{"everything", 2, 61 * day, false, []string{few, old, stale}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()

			want := reputation.Reliability{Reliable: len(tc.want) == 0, Reasons: tc.want}
			if diff := cmp.Diff(want, reputation.Assess(tc.n, tc.age, tc.decayed)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCanMove(t *testing.T) {
	t.Parallel()

	states := []reputation.State{reputation.Cold, reputation.Warming, reputation.Established, reputation.Authoritative, "else"}
	want := map[[2]reputation.State]bool{
		{reputation.Cold, reputation.Warming}:              true,
		{reputation.Warming, reputation.Established}:       true,
		{reputation.Established, reputation.Authoritative}: true,
		{reputation.Warming, reputation.Cold}:              true,
		{reputation.Established, reputation.Cold}:          true,
		{reputation.Authoritative, reputation.Cold}:        true,
	}

	for _, from := range states {
		for _, to := range states {
			if got := reputation.CanMove(from, to); got != want[[2]reputation.State{from, to}] {
				t.Errorf("CanMove(%s, %s) = %v", from, to, got)
			}
		}
	}
}

func BenchmarkScoring(b *testing.B) {
	average := 0.7
	b.ReportAllocs()

	for b.Loop() {
		average = reputation.EMA(&average, 0.6, 30)
		average = reputation.Blend(0.5, &average, 31)
	}
}
