package telemetry_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"dixie/spansanitizer"
	"dixie/telemetry"
)

const batchSize = 512

// wire does what the client of OTLP does, without the network.
type wire struct{ sent int }

func (*wire) Start(context.Context) error { return nil }
func (*wire) Stop(context.Context) error  { return nil }
func (w *wire) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	for _, s := range spans {
		data, err := proto.Marshal(s)
		if err != nil {
			return err
		}
		w.sent += len(data)
	}
	return nil
}

// batch is a batch of ended spans.
func batch(b *testing.B, fail bool) []sdktrace.ReadOnlySpan {
	b.Helper()
	var spans collected
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(appending{&spans}),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "dixie-bff"))))
	tracer := spansanitizer.NewTracer(provider, nil)
	for range batchSize {
		_, span := spansanitizer.StartSpan(b.Context(), tracer, spansanitizer.Request, attribute.String("method", "GET"),
			attribute.String("url", "/api/sessions/{sessionId}"), attribute.Float64("duration_ms", 1.5), attribute.Int("status_code", 200))
		if fail {
			span.Fail(errors.New("finn: the call took longer than its time limit"))
		}
		span.End()
	}
	return spans.spans
}

// appending keeps all.
type appending struct{ *collected }

func (a appending) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	a.spans = append(a.spans, spans...)
	return nil
}

// The cost of one span is that of an operation divided by 512: see ns/span.
func BenchmarkExport(b *testing.B) {
	for _, spans := range []struct {
		name string
		fail bool
	}{{"ok", false}, {"failed", true}} {
		list := batch(b, spans.fail)
		for _, exporter := range []struct {
			name string
			make func(sdktrace.SpanExporter) sdktrace.SpanExporter
		}{
			{"plain", func(next sdktrace.SpanExporter) sdktrace.SpanExporter { return next }},
			{"sanitised", func(next sdktrace.SpanExporter) sdktrace.SpanExporter { return telemetry.NewExporter(next, nil) }},
		} {
			b.Run(spans.name+"/"+exporter.name, func(b *testing.B) {
				e := exporter.make(otlptrace.NewUnstarted(&wire{}))
				b.ReportAllocs()
				for b.Loop() {
					if err := e.ExportSpans(b.Context(), list); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batchSize, "ns/span")
			})
		}
	}
}

// BenchmarkWhole is a span from its start to the bytes for the wire, in batches.
func BenchmarkWhole(b *testing.B) {
	b.Run("sdk", func(b *testing.B) {
		provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(otlptrace.NewUnstarted(&wire{}), sdktrace.WithBlocking()))
		defer func() { _ = provider.Shutdown(b.Context()) }()
		tracer := provider.Tracer("dixie-bff")
		b.ReportAllocs()
		for b.Loop() {
			_, span := tracer.Start(b.Context(), "dixie.request", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
				attribute.String("method", "GET"), attribute.String("url", "/api/sessions/{sessionId}")))
			span.SetAttributes(attribute.Float64("duration_ms", 1.5), attribute.Int("status_code", 200))
			span.End()
		}
		if err := provider.ForceFlush(b.Context()); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("sanitised", func(b *testing.B) {
		provider := sdktrace.NewTracerProvider(
			sdktrace.WithBatcher(telemetry.NewExporter(otlptrace.NewUnstarted(&wire{}), nil), sdktrace.WithBlocking()))
		defer func() { _ = provider.Shutdown(b.Context()) }()
		tracer := spansanitizer.NewTracer(provider, nil)
		b.ReportAllocs()
		for b.Loop() {
			_, span := spansanitizer.StartSpan(b.Context(), tracer, spansanitizer.Request,
				attribute.String("method", "GET"), attribute.String("url", "/api/sessions/{sessionId}"))
			span.SetAttributes(attribute.Float64("duration_ms", 1.5), attribute.Int("status_code", 200))
			span.End()
		}
		if err := provider.ForceFlush(b.Context()); err != nil {
			b.Fatal(err)
		}
	})
}
