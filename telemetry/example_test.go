package telemetry_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"dixie/spansanitizer"
	"dixie/telemetry"
)

// Nobody listens here: the spans are dropped and counted, and nothing else happens.
func ExampleStart() {
	ctx := context.Background()
	tel, err := telemetry.Start(ctx, telemetry.Config{
		Endpoint: "http://127.0.0.1:1", ServiceVersion: "1.0.0", Environment: "staging",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, span := spansanitizer.StartSpan(ctx, tel.Tracer(), spansanitizer.Request, attribute.String(spansanitizer.Method, "GET"))
	span.End()
	fmt.Println(tel.Enabled(), tel.Stats().Queued)

	// At the end of the process; in here, without the patience for a collector that is away.
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	fmt.Println(tel.Shutdown(ctx))
	fmt.Println(tel.Stats().Dropped)
	// Output:
	// true 1
	// telemetry: the last spans could not be sent: context canceled
	// 1
}

// Without an endpoint there is nothing to pay for.
func ExampleStart_off() {
	tel, err := telemetry.Start(context.Background(), telemetry.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tel.Enabled(), tel.Tracer().Enabled(), tel.Shutdown(context.Background()))
	// Output: false false <nil>
}

// printing shows what would leave.
type printing struct{}

func (printing) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, span := range spans {
		fmt.Println(span.Name(), span.Attributes()) //nolint:forbidigo // An example prints.
	}
	return nil
}

func (printing) Shutdown(context.Context) error { return nil }

// The exporter guards a pipeline of one's own, also against those who do not use package spansanitizer.
func ExampleNewExporter() {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(telemetry.NewExporter(printing{}, nil)))
	tracer := provider.Tracer(spansanitizer.ScopeName)
	for _, name := range []string{"dixie.auth", "chat of alice@example.org"} {
		_, span := tracer.Start(context.Background(), name)
		span.SetAttributes(attribute.String("wallet", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"))
		span.End()
	}
	// Output:
	// dixie.auth [{"wallet_hash":"1df5f48ea7a5"}]
	// dixie.unknown []
}
