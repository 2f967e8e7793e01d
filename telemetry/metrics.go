package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"

	"dixie/internal/instruments"
	"dixie/spansanitizer"
)

const (
	// maxSeries bounds the series of one instrument: the last resort against attributes without bounds.
	maxSeries = 2000
	// Scrapes are few and short: more than these are refused.
	maxScrapes    = 4
	scrapeTimeout = 10 * time.Second
)

// MetricsConfig says what is told about the process, in target_info alone.
type MetricsConfig struct {
	// ServiceName is dixie-bff if empty.
	ServiceName string
	// ServiceVersion and Environment are left out if empty.
	ServiceVersion string
	Environment    string
}

// Metrics collects measurements and shows them to Prometheus. It has a registry of its own, with Go's runtime and the
// process in it, and installs nothing globally. It is safe for concurrent use. Whoever made it shuts it down.
type Metrics struct {
	provider *sdkmetric.MeterProvider
	scrape   http.Handler
}

// NewMetrics makes a provider of meters. It starts no goroutine: measurements are collected when somebody asks. It
// fails with an error that matches [ErrConfig] for a name that is none.
func NewMetrics(cfg MetricsConfig) (*Metrics, error) {
	info, err := cfg.targetInfo()
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info,
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("telemetry: register a collector: %w", err)
		}
	}
	// The exporter's own target_info would show OTEL_RESOURCE_ATTRIBUTES.
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutTargetInfo(),
		otelprometheus.WithoutScopeInfo(), otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, fmt.Errorf("telemetry: make the exporter of metrics: %w", err)
	}
	provider := sdkmetric.NewMeterProvider(
		sdkmetric.WithReader(exporter), sdkmetric.WithResource(resource.Empty()),
		sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter), sdkmetric.WithCardinalityLimit(maxSeries),
		sdkmetric.WithView(durations()),
	)
	scrape := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout,
	})
	return &Metrics{provider: provider, scrape: scrape}, nil
}

// durations gives every histogram of seconds buckets from 1 ms to 120 s, also that of a library.
func durations() sdkmetric.View {
	return sdkmetric.NewView(sdkmetric.Instrument{Name: "*", Kind: sdkmetric.InstrumentKindHistogram, Unit: "s"},
		sdkmetric.Stream{Aggregation: sdkmetric.AggregationExplicitBucketHistogram{Boundaries: instruments.DurationBounds()}})
}

// targetInfo is what Prometheus is told about the process.
func (c MetricsConfig) targetInfo() (prometheus.Collector, error) {
	labels := prometheus.Labels{}
	var problems []error
	var policy *spansanitizer.Policy
	process := Config{ServiceName: cmp.Or(c.ServiceName, DefaultServiceName), ServiceVersion: c.ServiceVersion, Environment: c.Environment}
	for _, kv := range process.resourceAttributes() {
		if _, ok := policy.ResourceAttribute(kv); !ok {
			problems = append(problems, fmt.Errorf("%w: %s is not a plain name of 64 characters at most", ErrConfig, kv.Key))
		}
		labels[strings.ReplaceAll(string(kv.Key), ".", "_")] = kv.Value.AsString()
	}
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "target_info", Help: "The process.", ConstLabels: labels},
		func() float64 { return 1 })
	return info, errors.Join(problems...)
}

// MeterProvider returns what meters are made with.
func (m *Metrics) MeterProvider() metric.MeterProvider { return m.provider }

// Handler answers Prometheus. It asks for no key: put it on an address of its own, or give it to dixie.WithMetricsPage.
func (m *Metrics) Handler() http.Handler { return m.scrape }

// Shutdown ends the collection: what is measured afterwards is lost.
func (m *Metrics) Shutdown(ctx context.Context) error {
	if err := m.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("telemetry: shut metrics down: %w", err)
	}
	return nil
}
