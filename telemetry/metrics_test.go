package telemetry_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"dixie/telemetry"
)

func newMetrics(t *testing.T, cfg telemetry.MetricsConfig) *telemetry.Metrics {
	t.Helper()
	m, err := telemetry.NewMetrics(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return m
}

func get(h http.Handler) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w
}

// TestTargetInfoIsMinimal has an operator's attributes in the environment, which must not get out.
func TestTargetInfoIsMinimal(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=hunter2,service.name=other")
	m := newMetrics(t, telemetry.MetricsConfig{ServiceVersion: "1.2.3", Environment: "staging"})
	body := get(m.Handler()).Body.String()
	const want = `target_info{deployment_environment="staging",deployment_environment_name="staging",service_name="dixie-bff",service_version="1.2.3"} 1`
	if !strings.Contains(body, want) || strings.Contains(body, "hunter2") || strings.Count(body, "\ntarget_info{") != 1 {
		t.Errorf("no line %s, or more than that:\n%s", want, body)
	}
	if !strings.Contains(body, "go_goroutines ") {
		t.Error("nothing about the runtime")
	}
}

func TestMetricsConfigIsRefused(t *testing.T) {
	t.Parallel()
	_, err := telemetry.NewMetrics(telemetry.MetricsConfig{ServiceName: "two words", ServiceVersion: hardhat, Environment: "a@b"})
	if !errors.Is(err, telemetry.ErrConfig) || strings.Contains(err.Error(), hardhat) {
		t.Errorf("error %v", err)
	}
}

// TestBuckets holds the buckets of a library that names none, and that two registries know nothing of each other.
func TestBuckets(t *testing.T) {
	t.Parallel()
	m, other := newMetrics(t, telemetry.MetricsConfig{}), newMetrics(t, telemetry.MetricsConfig{})
	h, err := m.MeterProvider().Meter("library").Float64Histogram("library.call.duration", metric.WithUnit("s"))
	if err != nil {
		t.Fatal(err)
	}
	h.Record(t.Context(), 0.002)
	body := get(m.Handler()).Body.String()
	for _, want := range []string{`le="0.001"} 0`, `le="0.0025"} 1`, `le="120"} 1`} {
		if !strings.Contains(body, "library_call_duration_seconds_bucket{"+want) {
			t.Errorf("no bucket %s in\n%s", want, body)
		}
	}
	if strings.Contains(get(other.Handler()).Body.String(), "library") {
		t.Error("another registry has it too")
	}
}

// TestCardinalityIsBounded is the last resort: an attribute without bounds.
func TestCardinalityIsBounded(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, telemetry.MetricsConfig{})
	c, err := m.MeterProvider().Meter("library").Int64Counter("library.calls")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		c.Add(t.Context(), 1, metric.WithAttributes(attribute.Int("n", i)))
	}
	if n := strings.Count(get(m.Handler()).Body.String(), "\nlibrary_calls_total{"); n == 0 || n > 2000 {
		t.Errorf("%d series", n)
	}
}

func TestObserveSpans(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, telemetry.MetricsConfig{})
	var fails atomic.Bool
	tel := startWith(t, telemetry.Config{}, func(context.Context, []sdktrace.ReadOnlySpan) error {
		if fails.Load() {
			return errors.New("no room")
		}
		return nil
	})
	registration, err := tel.Observe(m.MeterProvider().Meter("dixie"))
	if err != nil {
		t.Fatal(err)
	}
	endSpans(t.Context(), tel, 3)
	if err := tel.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	fails.Store(true)
	endSpans(t.Context(), tel, 2)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := get(m.Handler()).Body.String()
	for _, want := range []string{"\ndixie_spans_exported_total 3\n", "\ndixie_spans_dropped_total 2\n", "\ndixie_spans_queued 0\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	if err := registration.Unregister(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(get(m.Handler()).Body.String(), "dixie_spans") {
		t.Error("still observed")
	}
}
