package signals_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"dixie/internal/chat"
	"dixie/signals"
)

// TestObserve offers three signals to a buffer of two while NATS is away, and closes it so that the two are lost.
func TestObserve(t *testing.T) {
	t.Parallel()
	p, err := signals.Connect(signals.Config{URL: "nats://127.0.0.1:1", Buffer: 2})
	if err != nil {
		t.Fatal(err)
	}
	reader := sdkmetric.NewManualReader()
	if _, err := p.Observe(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("dixie")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p.Interaction(t.Context(), chat.Interaction{SessionID: "s", MessageID: "m"})
	}
	want := map[string]int64{
		"dixie.signals.published ": 0, "dixie.signals.retries ": 0, "dixie.signals.buffered ": 2,
		"dixie.signals.dropped reason=buffer_full": 1, "dixie.signals.dropped reason=refused": 0, "dixie.signals.dropped reason=shutdown": 0,
	}
	if diff := cmp.Diff(want, values(t, reader)); diff != "" {
		t.Error(diff)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := p.Close(ended); err == nil {
		t.Error("nothing is lost")
	}
	want["dixie.signals.buffered "], want["dixie.signals.dropped reason=shutdown"] = 0, 2
	if diff := cmp.Diff(want, values(t, reader)); diff != "" {
		t.Error(diff)
	}
}

// values collects what is observed, by name and attributes.
func values(tb testing.TB, reader *sdkmetric.ManualReader) map[string]int64 {
	tb.Helper()
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(tb.Context(), &collected); err != nil {
		tb.Fatal(err)
	}
	found := map[string]int64{}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			var points []metricdata.DataPoint[int64]
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				points = data.DataPoints
			case metricdata.Gauge[int64]:
				points = data.DataPoints
			}
			for _, p := range points {
				found[m.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Value
			}
		}
	}
	return found
}
