package spansanitizer_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"dixie/spansanitizer"
)

// oneSpan is what a request does to its span.
func oneSpan(ctx context.Context, tracer spansanitizer.Tracer, status int, err error) {
	ctx, span := spansanitizer.StartSpan(ctx, tracer, spansanitizer.Request,
		attribute.String(spansanitizer.Method, "GET"), attribute.String(spansanitizer.URL, "/api/sessions/{sessionId}"))
	defer span.End()
	spansanitizer.AddAttributes(ctx, attribute.Float64(spansanitizer.DurationMS, 1.5))
	span.SetAttributes(attribute.Int(spansanitizer.StatusCode, status))
	span.Fail(err)
}

func TestDisabledAllocatesNothing(t *testing.T) { //nolint:paralleltest // It counts the allocations of the process.
	ctx, status := t.Context(), 200
	failed := errors.New("failed")
	if n := testing.AllocsPerRun(1000, func() { oneSpan(ctx, spansanitizer.Tracer{}, status, failed) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkSpan(b *testing.B) {
	// The processor does nothing, so that the span itself is measured.
	provider := sdktrace.NewTracerProvider()
	b.Run("sdk", func(b *testing.B) {
		tracer := provider.Tracer("dixie-bff")
		b.ReportAllocs()
		for b.Loop() {
			_, span := tracer.Start(b.Context(), "dixie.request", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
				attribute.String("method", "GET"), attribute.String("url", "/api/sessions/{sessionId}")))
			span.SetAttributes(attribute.Float64("duration_ms", 1.5))
			span.SetAttributes(attribute.Int("status_code", 200))
			span.End()
		}
	})
	b.Run("sanitised", func(b *testing.B) {
		tracer := spansanitizer.NewTracer(provider, nil)
		b.ReportAllocs()
		for b.Loop() {
			oneSpan(b.Context(), tracer, 200, nil)
		}
	})
	b.Run("disabled", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			oneSpan(b.Context(), spansanitizer.Tracer{}, 200, nil)
		}
	})
}

func BenchmarkErrorText(b *testing.B) {
	for name, text := range map[string]string{
		"plain":       "finn: the call took longer than its time limit",
		"masked":      "admission: operator 0x[REDACTED] has no budget left",
		"apostrophes": strings.Repeat("'", 1<<20), "addresses": strings.Repeat("x0x", 1<<20), "long": strings.Repeat("word ", 1<<20),
		"wallet": "admission: operator " + hardhat + " has no budget left",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				spansanitizer.ErrorText(text)
			}
		})
	}
}
