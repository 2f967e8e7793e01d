package proxybench_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"dixie"
	"dixie/telemetry"
)

// newObserved is dixie with tracing and metrics. Its spans are made, sanitised, and encoded for a collector that is
// not there: what one costs is not dixie's.
func newObserved(upstream *url.URL) (http.Handler, func() error, error) {
	metrics, err := telemetry.NewMetrics(telemetry.MetricsConfig{})
	if err != nil {
		return nil, nil, err
	}
	tracing := sdktrace.NewTracerProvider(sdktrace.WithBatcher(telemetry.NewExporter(otlptrace.NewUnstarted(encoder{}), nil)))
	handler, end, err := newDixie(upstream,
		dixie.WithMetrics(metrics.MeterProvider()), dixie.WithTracing(dixie.TracingConfig{Provider: tracing}))
	if err != nil {
		return nil, nil, err
	}
	return handler, func() error {
		ctx := context.Background()
		return errors.Join(end(), tracing.Shutdown(ctx), metrics.Shutdown(ctx))
	}, nil
}

// encoder does what a client of OTLP does before it sends.
type encoder struct{}

func (encoder) Start(context.Context) error { return nil }
func (encoder) Stop(context.Context) error  { return nil }
func (encoder) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	for _, s := range spans {
		if _, err := proto.Marshal(s); err != nil {
			return err
		}
	}
	return nil
}
