package postgres_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"dixie/reputation"
	"dixie/reputation/postgres"
)

// BenchmarkRecord compares what grouping recordings into one transaction is worth: 64 callers, every event
// durable, the same SQL and pool; `single` gives each event a transaction of its own.
func BenchmarkRecord(b *testing.B) {
	const callers = 64
	for _, spread := range []struct {
		name   string
		agents int64
	}{{"1000agents", 1000}, {"hot", 1}} {
		for _, mode := range []struct {
			name  string
			batch int
		}{{"grouped", 0}, {"single", 1}} {
			b.Run(spread.name+"/"+mode.name, func(b *testing.B) {
				service := reputation.NewService(postgres.New(open(b)), reputation.Config{MaxBatch: mode.batch})
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ReportAllocs()
				b.ResetTimer()
				for range callers {
					wg.Go(func() {
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							if _, err := service.Record(b.Context(), signal(fmt.Sprintf("agent-%d", n%spread.agents), 0.5)); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

func BenchmarkScore(b *testing.B) {
	store := postgres.New(open(b))
	service := reputation.NewService(store, reputation.Config{})
	if _, err := service.Record(b.Context(), signal("agent", 0.5)); err != nil {
		b.Fatal(err)
	}
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := service.Score(b.Context(), "agent"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("database", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := store.Get(b.Context(), "agent"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
