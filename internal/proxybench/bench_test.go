package proxybench_test

import (
	"os"
	"slices"
	"testing"
	"time"
)

// stage is what a comparison needs: the processes and connections to each.
type stage struct {
	finn  *process
	procs map[string]*process
	loads map[string]*load
}

func setStage(b *testing.B) *stage {
	b.Helper()
	s := &stage{finn: launch(b, roleFinn, nil), procs: map[string]*process{}, loads: map[string]*load{}}
	for _, role := range proxies() {
		s.procs[role] = launch(b, role, s.finn)
	}
	list := enroll(b, s.procs[roleDixie])
	for _, role := range proxies() {
		if role == roleObserved {
			list = enroll(b, s.procs[role]) // Each dixie knows its own sessions.
		}
		s.loads[role] = newLoad(b, s.procs[role], list)
		// Connections, pools and caches fill before anything is measured.
		if _, err := s.loads[role].run(20 * callers); err != nil {
			b.Fatalf("%s: %v", role, err)
		}
	}
	return s
}

// BenchmarkChatProxy compares a chat turn through each proxy; see the package's comment for what is printed.
func BenchmarkChatProxy(b *testing.B) {
	s := setStage(b)
	for _, role := range proxies() {
		b.Run(role, func(b *testing.B) { s.compare(b, role) })
	}
}

// tally is what the rounds of one process have shown.
type tally struct {
	requests int
	rates    []float64
	// own is the processor time of the process, others that of the client and Finn; known is where it can be told.
	own, others time.Duration
	known       bool
}

func (t *tally) perRequest(spent time.Duration) float64 {
	return float64(spent.Microseconds()) / float64(t.requests)
}

// spent is the processor time of a process so far, and of the others that serve a request.
func (s *stage) spent(role string) (own, others time.Duration, known bool) {
	own, known = s.procs[role].processor()
	finn, _ := s.finn.processor()
	client, _ := processor(os.Getpid())
	return own, finn + client, known
}

// round makes n requests through a process.
func (s *stage) round(b *testing.B, role string, n int, t *tally) {
	b.Helper()
	own, others, _ := s.spent(role)
	took, err := s.loads[role].run(n)
	if err != nil {
		b.Fatalf("%s: %v", role, err)
	}
	ownAfter, othersAfter, known := s.spent(role)
	t.requests += n
	t.rates = append(t.rates, float64(n)/took.Seconds())
	t.own += ownAfter - own
	t.others += othersAfter - others
	t.known = known
}

const (
	// rounds is how often bare and another proxy alternate. It is even, so that each is the first as often.
	rounds = 20
	// shortest is the fewest requests that are worth more than one round.
	shortest = rounds * callers
)

// compare measures b.N requests through role, in rounds that alternate with as many through bare.
func (s *stage) compare(b *testing.B, role string) {
	b.Helper()
	count := rounds
	if b.N < shortest {
		count = 1
	}
	var own, bare tally
	b.ResetTimer()
	b.StopTimer()
	for i := range count {
		n := b.N*(i+1)/count - b.N*i/count
		steps := []func(){
			func() {
				if role != roleBare {
					s.round(b, roleBare, n, &bare)
				}
			},
			func() {
				b.StartTimer()
				s.round(b, role, n, &own)
				b.StopTimer()
			},
		}
		if i%2 == 1 {
			slices.Reverse(steps)
		}
		for _, step := range steps {
			step()
		}
	}
	s.report(b, role, &own, &bare)
}

func (s *stage) report(b *testing.B, role string, own, bare *tally) {
	b.Helper()
	b.ReportMetric(median(own.rates), "req/s")
	if size, ok := s.procs[role].peak(); ok {
		b.ReportMetric(float64(size)/(1<<20), "peak-MB")
	}
	known := own.known && own.own >= 10*tick // Less is more rounding than time.
	if known {
		b.ReportMetric(own.perRequest(own.own), "cpu-us/req")
		b.ReportMetric(own.perRequest(own.others), "others-cpu-us/req")
	}
	if role == roleBare {
		return
	}
	shares := make([]float64, len(own.rates))
	for i := range shares {
		shares[i] = own.rates[i] / bare.rates[i]
	}
	b.ReportMetric(median(shares), "req/s-of-bare")
	if known && bare.own > 0 {
		b.ReportMetric(float64(own.own)/float64(bare.own), "cpu-of-bare")
		b.ReportMetric(float64(bare.own+bare.others)/float64(own.own+own.others), "capacity-of-bare")
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}
