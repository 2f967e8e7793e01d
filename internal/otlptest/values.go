package otlptest

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Values collects what a reader has: whole numbers, and of histograms how much was counted, by the metric's name and its
// attributes as name=value,name=value with a blank between.
func Values(tb testing.TB, reader *sdkmetric.ManualReader) map[string]int64 {
	tb.Helper()
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(tb.Context(), &collected); err != nil {
		tb.Fatal(err)
	}
	found := map[string]int64{}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			keep := func(attributes attribute.Set, value int64) {
				found[m.Name+" "+attributes.Encoded(attribute.DefaultEncoder())] = value
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					keep(p.Attributes, p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					keep(p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					keep(p.Attributes, int64(p.Count)) //nolint:gosec // A test counts less.
				}
			}
		}
	}
	return found
}
