package signals

import (
	"go.opentelemetry.io/otel/metric"

	"dixie/internal/instruments"
)

// Observe measures what [Publisher.Stats] counts, at each collection of the meter. The registration ends it.
func (p *Publisher) Observe(meter metric.Meter) (metric.Registration, error) {
	return instruments.ObserveSignals(meter, func() instruments.Signals {
		s := p.Stats()
		return instruments.Signals{
			Published: count(s.Published + s.FleetPublished), Retried: count(s.FleetFailed), Full: count(s.Dropped),
			Refused: count(s.Failed), Lost: count(s.Lost), Buffered: int64(s.Buffered),
		}
	})
}

// count is a number that the API of metrics takes: nothing happens 2^63 times.
func count(n uint64) int64 { return int64(n & (1<<63 - 1)) }
