package postgres_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"dixie/fleet"
	"dixie/fleet/postgres"
)

const callers = 64

// parallel has 64 callers.
func parallel(b *testing.B, call func(n int64) error) {
	b.Helper()
	var n atomic.Int64
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	began := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := call(n.Add(1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(n.Load())/time.Since(began).Seconds(), "calls/s")
}

func benchPool(b *testing.B, url string) *pgxpool.Pool {
	b.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		b.Fatal(err)
	}
	cfg.MaxConns = 32
	pool, err := pgxpool.NewWithConfig(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	return pool
}

// BenchmarkAdmit compares an admission (lock, count, task, charge, job) with the least that a durable write
// can be, on the same server and pool.
func BenchmarkAdmit(b *testing.B) {
	pool := benchPool(b, server.Migrated(b))
	store, err := postgres.New(postgres.Config{Pool: pool})
	if err != nil {
		b.Fatal(err)
	}
	admit := func(counted fleet.Snapshot) fleet.Decision {
		return fleet.Decision{Admit: true, Limit: 1 << 30, Active: counted.Active, CostMicroUSD: taskCost}
	}
	if _, err := pool.Exec(b.Context(), `CREATE TABLE plain (id uuid PRIMARY KEY, content text NOT NULL)`); err != nil {
		b.Fatal(err)
	}
	b.Run("plain INSERT", func(b *testing.B) {
		parallel(b, func(int64) error {
			_, err := pool.Exec(b.Context(), `INSERT INTO plain (id, content) VALUES ($1, $2)`, uuid.NewString(), "Fix the door")
			return err
		})
	})
	for _, operators := range []int64{callers, 1} {
		b.Run(fmt.Sprintf("Admit of %d operators", operators), func(b *testing.B) {
			run := uuid.NewString()
			parallel(b, func(n int64) error {
				_, err := store.Admit(b.Context(), proposal(fmt.Sprint(run, n%operators)), admit)
				return err
			})
		})
	}
}
