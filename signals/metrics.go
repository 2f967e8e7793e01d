package signals

import (
	"go.opentelemetry.io/otel/metric"

	"dixie/internal/instruments"
)

// Observe measures what [Publisher.Stats] counts, at each collection of the meter. The registration ends it.
func (p *Publisher) Observe(meter metric.Meter) (metric.Registration, error) {
	//nolint:wrapcheck // It says what could not be made.
	return instruments.ObserveSignals(meter, func() instruments.Signals {
		s := p.Stats()
		return instruments.Signals{
			Published: count(s.Published + s.FleetPublished), Retried: count(s.FleetFailed), Full: count(s.Dropped), Refused: count(s.Failed), Lost: count(s.Lost),
			Buffered: int64(s.Buffered),
		}
	})
}

// count is a number that the API of metrics takes.
func count(n uint64) int64 { return int64(n & (1<<63 - 1)) } //nolint:gosec // Masked.
