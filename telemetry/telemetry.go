package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"

	"dixie/spansanitizer"
)

// ShutdownLimit is the longest that [Telemetry.Shutdown] takes.
const ShutdownLimit = 5 * time.Second

// closeTime is what is left of it to close the connection when the collector does not take the last spans.
const closeTime = 250 * time.Millisecond

// maxBatchTime is the longest that a variable can make a span or an export wait. Far beyond it, a duration would overflow.
const maxBatchTime = 24 * time.Hour

// Telemetry is a running export of spans, or the no-op. It is safe for concurrent use. Whoever started it shuts it down.
type Telemetry struct {
	provider trace.TracerProvider
	policy   *spansanitizer.Policy
	// pipeline is nil in the no-op.
	pipeline *pipeline
}

type pipeline struct {
	sdk      *sdktrace.TracerProvider
	queue    *queue
	delivery *delivery
	logger   *slog.Logger

	stop sync.Once
	err  error
}

// Start starts to send spans. It does not wait for the collector, which may be away. Without an endpoint, it returns
// the no-op. It fails with an error that matches [ErrConfig], or when a client cannot be made.
func Start(ctx context.Context, cfg Config) (*Telemetry, error) {
	s, err := cfg.resolve(cfg.getenv())
	if err != nil {
		return nil, err
	}
	if s.target == "" {
		return &Telemetry{provider: noop.NewTracerProvider(), policy: cfg.Policy}, nil
	}
	options := append(s.delivering.options(s.target), otlptracegrpc.WithDialOption(grpc.WithChainUnaryInterceptor(takeVerdict)))
	otlp, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("telemetry: make the exporter: %w", err)
	}
	return s.start(otlp, cfg.getenv()), nil
}

// start builds the pipeline in front of an exporter.
func (s settings) start(exporter sdktrace.SpanExporter, getenv func(string) string) *Telemetry {
	d := newDelivery(NewExporter(exporter, s.Policy), s.Logger)
	q := newQueue(s.QueueSize, d.off)
	d.queue = q
	delay, timeout := batchTimes(getenv)
	q.batch = sdktrace.NewBatchSpanProcessor(d,
		sdktrace.WithMaxQueueSize(s.QueueSize+spareRoom), sdktrace.WithMaxExportBatchSize(s.batchSize),
		sdktrace.WithBatchTimeout(delay), sdktrace.WithExportTimeout(timeout))
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithSpanProcessor(q),
		sdktrace.WithResource(resource.NewSchemaless(s.resourceAttributes()...)),
	}
	if s.sampler != nil {
		options = append(options, sdktrace.WithSampler(s.sampler))
	}
	sdk := sdktrace.NewTracerProvider(options...)
	return &Telemetry{
		provider: sdk, policy: s.Policy,
		pipeline: &pipeline{sdk: sdk, queue: q, delivery: d, logger: s.Logger},
	}
}

// batchTimes are how long a span waits for others, and how long an export may take. What is no number above 0 counts as
// absent, although the SDK takes it: without a delay its processor never rests, and without a limit an export may never end.
func batchTimes(getenv func(string) string) (delay, timeout time.Duration) {
	milliseconds := func(name string, otherwise int) time.Duration {
		n := positive(getenv(name), otherwise)
		return time.Duration(min(n, int(maxBatchTime.Milliseconds()))) * time.Millisecond
	}
	return milliseconds("OTEL_BSP_SCHEDULE_DELAY", sdktrace.DefaultScheduleDelay),
		milliseconds("OTEL_BSP_EXPORT_TIMEOUT", sdktrace.DefaultExportTimeout)
}

// Enabled tells whether spans are recorded.
func (t *Telemetry) Enabled() bool { return t.pipeline != nil }

// TracerProvider returns the provider of the spans. It is the API's no-op when there is no tracing.
func (t *Telemetry) TracerProvider() trace.TracerProvider { return t.provider }

// Tracer returns a tracer with the configured policy. It is the zero Tracer when there is no tracing.
func (t *Telemetry) Tracer() spansanitizer.Tracer {
	return spansanitizer.NewTracer(t.provider, t.policy)
}

// Stats counts spans: those of the no-op are 0.
func (t *Telemetry) Stats() Stats {
	if t.pipeline == nil {
		return Stats{}
	}
	return t.pipeline.queue.stats()
}

// Flush sends the spans that have ended, and returns when the collector has them or they are dropped; [Telemetry.Stats]
// tells which. One flush follows another. When ctx ends, its spans are sent all the same, without anybody who waits.
func (t *Telemetry) Flush(ctx context.Context) error {
	if t.pipeline == nil {
		return nil
	}
	if err := t.pipeline.queue.ForceFlush(ctx); err != nil {
		return fmt.Errorf("telemetry: flush: %w", err)
	}
	return nil
}

// Shutdown sends the spans that have ended and closes the connection, within ctx and [ShutdownLimit]. It fails when the
// collector did not take them in time; everything is released all the same. Spans that end later are dropped. A second
// call waits for the first and returns its result.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t.pipeline == nil {
		return nil
	}
	t.pipeline.stop.Do(func() { t.pipeline.err = t.pipeline.shutdown(ctx) })
	return t.pipeline.err
}

func (p *pipeline) shutdown(ctx context.Context) error {
	flush, cancel := context.WithTimeout(ctx, ShutdownLimit-closeTime)
	defer cancel()
	// The processor first, and by itself: the SDK's provider would leave it running if ctx has ended already.
	err := p.queue.Shutdown(flush)
	p.delivery.callOff()
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-p.delivery.ended:
	case <-timer.C:
	}
	// It has nothing left to wait for.
	_ = p.sdk.Shutdown(context.WithoutCancel(ctx))
	p.queue.abandon()
	if stats := p.queue.stats(); stats.Dropped > 0 {
		p.logger.WarnContext(ctx, "spans_dropped", "spans_dropped", stats.Dropped, "spans_exported", stats.Exported)
	}
	if err != nil {
		return fmt.Errorf("telemetry: the last spans could not be sent: %w", err)
	}
	return nil
}
