package telemetry_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dixie/internal/otlptest"
	"dixie/spansanitizer"
	"dixie/telemetry"
)

// start starts, and shuts down with the test.
func start(t testing.TB, cfg telemetry.Config) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), telemetry.ShutdownLimit) //nolint:usetesting // The test's context has ended.
		defer cancel()
		_ = tel.Shutdown(ctx)
	})
	return tel
}

// clearEnvironment unsets the endpoints that the machine may have.
func clearEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_RESOURCE_ATTRIBUTES",
		"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME",
	} {
		t.Setenv(name, "")
	}
}

func TestOffWithoutEndpoint(t *testing.T) {
	clearEnvironment(t)
	check := func(t *testing.T, cfg telemetry.Config) {
		t.Helper()
		tel, err := telemetry.Start(t.Context(), cfg)
		if err != nil {
			t.Fatalf("Start: %v", err)
		}
		if _, ok := tel.TracerProvider().(noop.TracerProvider); !ok || tel.Enabled() || tel.Tracer().Enabled() {
			t.Errorf("the provider is %T", tel.TracerProvider())
		}
		ctx := t.Context()
		tracer := tel.Tracer()
		if n := testing.AllocsPerRun(100, func() {
			_, span := spansanitizer.StartSpan(ctx, tracer, spansanitizer.Request, attribute.String("method", "GET"))
			span.End()
		}); n != 0 {
			t.Errorf("a span costs %v allocations", n)
		}
		for range 2 {
			if err := errors.Join(tel.Flush(ctx), tel.Shutdown(ctx)); err != nil {
				t.Errorf("Flush, Shutdown: %v", err)
			}
		}
		if diff := cmp.Diff(telemetry.Stats{}, tel.Stats()); diff != "" {
			t.Error(diff)
		}
	}
	check(t, telemetry.Config{})
	check(t, telemetry.Config{Endpoint: "  "})
	t.Setenv("OTEL_SDK_DISABLED", "true")
	check(t, telemetry.Config{Endpoint: "http://collector.invalid"})
}

func TestSpansArrive(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=alices-laptop,service.namespace=shop,service.name=mine,service.instance.id="+hardhat)
	t.Setenv("OTEL_SERVICE_NAME", "theirs")
	collector := otlptest.Start(t)
	tel := start(t, telemetry.Config{Endpoint: collector.Endpoint(), ServiceVersion: "1.2.3", Environment: "staging"})
	if !tel.Enabled() || otel.GetTracerProvider() == tel.TracerProvider() {
		t.Error("it is not enabled, or is the global provider")
	}

	ctx, request := spansanitizer.StartSpan(t.Context(), tel.Tracer(), spansanitizer.Request, attribute.String("method", "GET"))
	_, auth := spansanitizer.StartSpan(ctx, tel.Tracer(), spansanitizer.Auth, attribute.String("wallet", hardhat))
	auth.Fail(errors.New("no " + hardhat))
	auth.End()
	request.SetAttributes(attribute.Int("status_code", 401), attribute.Float64("duration_ms", 0.5))
	request.End()
	// They wait for the batch: no processor of the simple kind would do that.
	if n := len(collector.Spans()); n != 0 {
		t.Errorf("%d spans have arrived before the batch", n)
	}
	if diff := cmp.Diff(telemetry.Stats{Ended: 2, Queued: 2}, tel.Stats()); diff != "" {
		t.Error(diff)
	}
	if err := tel.Flush(t.Context()); err != nil {
		t.Fatalf("Flush: %v", err)
	}

	resource := map[string]any{
		"service.name": "dixie-bff", "service.version": "1.2.3", "service.namespace": "shop",
		"deployment.environment": "staging", "deployment.environment.name": "staging",
	}
	traceID, parent := request.SpanContext().TraceID().String(), request.SpanContext().SpanID().String()
	want := []otlptest.Span{
		{
			Name: "dixie.auth", TraceID: traceID, SpanID: auth.SpanContext().SpanID().String(), ParentID: parent,
			Kind: "INTERNAL", Status: "ERROR", StatusText: "no 0x[REDACTED]",
			Attributes: map[string]any{"wallet_hash": "1df5f48ea7a5"},
			Events: []otlptest.Event{{Name: "exception", Attributes: map[string]any{
				"exception.type": "*errors.errorString", "exception.message": "no 0x[REDACTED]",
			}}},
			Scope: "dixie-bff", Resource: resource,
		},
		{
			Name: "dixie.request", TraceID: traceID, SpanID: parent, Kind: "SERVER", Status: "UNSET",
			Attributes: map[string]any{"method": "GET", "status_code": int64(401), "duration_ms": 0.5},
			Scope:      "dixie-bff", Resource: resource,
		},
	}
	if diff := cmp.Diff(want, collector.Spans()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(telemetry.Stats{Ended: 2, Exported: 2}, tel.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestEndpointOfTheEnvironment(t *testing.T) {
	clearEnvironment(t)
	collector := otlptest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.invalid:1")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", strings.TrimPrefix(collector.Endpoint(), "http://"))
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "true")
	tel := start(t, telemetry.Config{})
	endSpans(t.Context(), tel, 3)
	if err := tel.Flush(t.Context()); err != nil {
		t.Fatalf("Flush: %v", err)
	}
	if n := len(collector.Spans()); n != 3 {
		t.Errorf("%d spans have arrived, want 3", n)
	}
}

func TestExporterOfTheEnvironment(t *testing.T) {
	clearEnvironment(t)
	collector, certificate := otlptest.StartTLS(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.Endpoint())
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	log := &lines{}
	tel := start(t, telemetry.Config{Logger: log.logger()})
	endSpans(t.Context(), tel, 3)
	if err := tel.Flush(t.Context()); err != nil {
		t.Fatalf("Flush: %v", err)
	}
	if n := len(collector.Spans()); n != 3 {
		t.Errorf("%d spans have arrived, want 3: %s", n, log)
	}
	if got := collector.Metadata().Get("x-tenant"); !slices.Equal(got, []string{"shop"}) {
		t.Errorf("the header is %q", got)
	}
}

func TestSamplerOfTheEnvironment(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
	for ratio, want := range map[float64]bool{0: false, 1: true} {
		tel := startWith(t, telemetry.Config{SampleRatio: ratio}, func(context.Context, []sdktrace.ReadOnlySpan) error { return nil })
		_, span := spansanitizer.StartSpan(t.Context(), tel.Tracer(), spansanitizer.Request)
		if span.IsRecording() != want {
			t.Errorf("ratio %v: recorded = %v, want %v", ratio, span.IsRecording(), want)
		}
		span.End()
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
}

func TestShutdownFlushes(t *testing.T) {
	t.Parallel()
	collector := otlptest.Start(t)
	tel := start(t, telemetry.Config{Endpoint: collector.Endpoint()})
	tracer := tel.Tracer()
	endSpans(t.Context(), tel, 700)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
	group.Wait()
	if n := len(collector.Spans()); n != 700 {
		t.Errorf("%d spans have arrived, want 700", n)
	}
	_, late := spansanitizer.StartSpan(t.Context(), tracer, spansanitizer.Auth)
	late.End()
	if err := errors.Join(tel.Shutdown(t.Context()), tel.Flush(t.Context())); err != nil {
		t.Errorf("after Shutdown: %v", err)
	}
	if stats := tel.Stats(); stats.Exported != 700 || stats.Queued != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestSpanThatEndsAfterShutdownIsNotSent(t *testing.T) {
	t.Parallel()
	tel := startWith(t, telemetry.Config{}, func(context.Context, []sdktrace.ReadOnlySpan) error { return nil })
	_, span := spansanitizer.StartSpan(t.Context(), tel.Tracer(), spansanitizer.Auth)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	span.End()
	if stats := tel.Stats(); stats.Exported != 0 || stats.Queued != 0 {
		t.Errorf("%+v", stats)
	}
}

// The exporter hangs as one does whose collector takes the connection and nothing else.
func TestShutdownIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tel := startWith(t, telemetry.Config{}, func(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
			<-ctx.Done()
			return ctx.Err()
		})
		endSpans(t.Context(), tel, 1200)
		begin := time.Now()
		err := tel.Shutdown(t.Context())
		if took := time.Since(begin); took > telemetry.ShutdownLimit {
			t.Errorf("Shutdown took %v", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v, want a deadline", err)
		}
		if diff := cmp.Diff(telemetry.Stats{Ended: 1200, Dropped: 1200}, tel.Stats()); diff != "" {
			t.Error(diff)
		}
		if again := tel.Shutdown(t.Context()); !errors.Is(again, context.DeadlineExceeded) {
			t.Errorf("the second Shutdown: %v", again)
		}
		// synctest fails the test when a goroutine is left.
	})
}

// It does not even heed its context.
func TestShutdownOfAnExporterThatIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		tel := startWith(t, telemetry.Config{}, func(context.Context, []sdktrace.ReadOnlySpan) error {
			<-release
			return nil
		})
		endSpans(t.Context(), tel, 1)
		begin := time.Now()
		if err := tel.Shutdown(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v, want a deadline", err)
		}
		if took := time.Since(begin); took > telemetry.ShutdownLimit {
			t.Errorf("Shutdown took %v", took)
		}
		// What it reports so late counts no more.
		want := telemetry.Stats{Ended: 1, Dropped: 1}
		if diff := cmp.Diff(want, tel.Stats()); diff != "" {
			t.Error(diff)
		}
		close(release)
		synctest.Wait()
		if diff := cmp.Diff(want, tel.Stats()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestShutdownWithAnEndedContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tel := startWith(t, telemetry.Config{}, func(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
		<-ctx.Done()
		return ctx.Err()
	})
	endSpans(t.Context(), tel, 1)
	if err := tel.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v, want canceled", err)
	}
	// goleak tells whether the processor is still there.
}

func TestCollectorIsAway(t *testing.T) {
	t.Parallel()
	collector := otlptest.Start(t)
	collector.FailWith(func(context.Context) error {
		return status.Error(codes.InvalidArgument, "no, not for "+hardhat)
	})
	log := &lines{}
	tel := start(t, telemetry.Config{Endpoint: collector.Endpoint(), Logger: log.logger()})
	for range 3 {
		endSpans(t.Context(), tel, 5)
		if err := tel.Flush(t.Context()); err != nil {
			t.Errorf("Flush: %v", err)
		}
	}
	if diff := cmp.Diff(telemetry.Stats{Ended: 15, Dropped: 15}, tel.Stats()); diff != "" {
		t.Error(diff)
	}
	collector.FailWith(nil)
	endSpans(t.Context(), tel, 2)
	if err := tel.Flush(t.Context()); err != nil {
		t.Errorf("Flush: %v", err)
	}
	if diff := cmp.Diff(telemetry.Stats{Ended: 17, Exported: 2, Dropped: 15}, tel.Stats()); diff != "" {
		t.Error(diff)
	}
	got := log.String()
	if strings.Count(got, "trace_export_failed") != 1 || strings.Count(got, "trace_export_recovered") != 1 {
		t.Errorf("one line about the failure and one about its end are wanted:\n%s", got)
	}
	if len(otlptest.Leaks([]byte(got), hardhat)) != 0 {
		t.Errorf("the collector's words are in the log:\n%s", got)
	}
}

// TestNobodyListens: the log says why the collector cannot be reached.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	log := &lines{}
	tel := start(t, telemetry.Config{Endpoint: "http://" + listener.Addr().String(), Logger: log.logger()})
	endSpans(t.Context(), tel, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_ = tel.Shutdown(ctx)
	if got := log.String(); !strings.Contains(got, "connection refused") {
		t.Errorf("%s", got)
	}
}

// OpenTelemetry's error handler is the process's; by default it writes to standard error.
func TestFailuresStayWithUs(t *testing.T) { //nolint:paralleltest // It sets the handler of the process.
	var handled atomic.Int64
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) { handled.Add(1) }))
	tel := startWith(t, telemetry.Config{}, func(context.Context, []sdktrace.ReadOnlySpan) error { return errors.New("away") })
	endSpans(t.Context(), tel, 1)
	if err := tel.Flush(t.Context()); err != nil {
		t.Errorf("Flush: %v", err)
	}
	endSpans(t.Context(), tel, 1)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if n := handled.Load(); n != 0 {
		t.Errorf("the handler was called %d times", n)
	}
	if diff := cmp.Diff(telemetry.Stats{Ended: 2, Dropped: 2}, tel.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestComplainsOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		tel := startWith(t, telemetry.Config{Logger: log.logger()}, func(context.Context, []sdktrace.ReadOnlySpan) error {
			return errors.New("away")
		})
		// A batch every five seconds, for two minutes and a bit.
		for range 25 {
			endSpans(t.Context(), tel, 1)
			time.Sleep(5 * time.Second) // fake clock
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "trace_export_failed"); n != 3 {
			t.Errorf("%d lines, want 3:\n%s", n, log.String())
		}
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

func TestFullQueueDrops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		tel := startWith(t, telemetry.Config{QueueSize: 8}, func(context.Context, []sdktrace.ReadOnlySpan) error {
			<-release
			return nil
		})
		endSpans(t.Context(), tel, 100)
		synctest.Wait()
		if diff := cmp.Diff(telemetry.Stats{Ended: 100, Dropped: 92, Queued: 8}, tel.Stats()); diff != "" {
			t.Error(diff)
		}
		close(release)
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if diff := cmp.Diff(telemetry.Stats{Ended: 100, Exported: 8, Dropped: 92}, tel.Stats()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestExporterThatPanics(t *testing.T) {
	t.Parallel()
	tel := startWith(t, telemetry.Config{}, func(context.Context, []sdktrace.ReadOnlySpan) error {
		panic("at the disco") //nolint:forbidigo // This is what is tested.
	})
	endSpans(t.Context(), tel, 2)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if diff := cmp.Diff(telemetry.Stats{Ended: 2, Dropped: 2}, tel.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestSampling(t *testing.T) {
	t.Parallel()
	parent := func(flags trace.TraceFlags) context.Context {
		return trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{0xff, 1}, SpanID: trace.SpanID{1}, TraceFlags: flags, Remote: true,
		}))
	}
	for name, tt := range map[string]struct {
		ratio float64
		ctx   context.Context
		want  bool
	}{
		"all, new":             {0, t.Context(), true},
		"all, sampled parent":  {0, parent(trace.FlagsSampled), true},
		"all, other parent":    {0, parent(0), false},
		"none, sampled parent": {1e-300, parent(trace.FlagsSampled), true},
		"none, new":            {1e-300, t.Context(), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tel := startWith(t, telemetry.Config{SampleRatio: tt.ratio}, func(context.Context, []sdktrace.ReadOnlySpan) error { return nil })
			_, span := spansanitizer.StartSpan(tt.ctx, tel.Tracer(), spansanitizer.Request)
			if span.IsRecording() != tt.want || span.SpanContext().IsSampled() != tt.want {
				t.Errorf("recorded = %v, want %v", span.IsRecording(), tt.want)
			}
			span.End()
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
}
