package database

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"dixie/internal/instruments"
)

// Observe measures the use of a pool, under the name "postgresql", at each collection of the meter. It is safe for
// concurrent use, also when the pool is closed. The registration ends it.
func Observe(meter metric.Meter, pool *pgxpool.Pool) (metric.Registration, error) {
	return instruments.ObservePool(meter, "postgresql", func() instruments.Pool {
		s := pool.Stat()
		return instruments.Pool{
			Used: int64(s.AcquiredConns()), Idle: int64(s.IdleConns()), Max: int64(s.MaxConns()),
			Waits: s.EmptyAcquireCount(), Timeouts: s.CanceledAcquireCount(), WaitSeconds: s.EmptyAcquireWaitTime().Seconds(),
		}
	})
}
