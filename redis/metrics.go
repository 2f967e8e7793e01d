package redis

import (
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"

	"dixie/internal/instruments"
)

// Observe measures the use of a client's connections, under the name "redis", at each collection of the meter. It is
// safe for concurrent use, also when the client is closed. The registration ends it.
func Observe(meter metric.Meter, client *goredis.Client) (metric.Registration, error) {
	largest := int64(client.Options().PoolSize)
	return instruments.ObservePool(meter, "redis", func() instruments.Pool {
		s := client.PoolStats()
		return instruments.Pool{
			Used: int64(s.TotalConns) - int64(s.IdleConns), Idle: int64(s.IdleConns), Max: largest,
			Waits: int64(s.WaitCount), Timeouts: int64(s.Timeouts), WaitSeconds: time.Duration(s.WaitDurationNs).Seconds(),
		}
	})
}
