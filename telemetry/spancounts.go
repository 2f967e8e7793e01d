package telemetry

import (
	"go.opentelemetry.io/otel/metric"

	"dixie/internal/instruments"
)

// Observe measures what [Telemetry.Stats] counts, at each collection of the meter. The registration ends it.
func (t *Telemetry) Observe(meter metric.Meter) (metric.Registration, error) {
	return instruments.ObserveSpans(meter, func() instruments.Spans {
		s := t.Stats()
		return instruments.Spans{Exported: s.Exported, Dropped: s.Dropped, Queued: s.Queued}
	})
}
