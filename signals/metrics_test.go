package signals_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"dixie/internal/chat"
	"dixie/internal/otlptest"
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
	if diff := cmp.Diff(want, otlptest.Values(t, reader)); diff != "" {
		t.Error(diff)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := p.Close(ended); err == nil {
		t.Error("nothing is lost")
	}
	want["dixie.signals.buffered "], want["dixie.signals.dropped reason=shutdown"] = 0, 2
	if diff := cmp.Diff(want, otlptest.Values(t, reader)); diff != "" {
		t.Error(diff)
	}
}
