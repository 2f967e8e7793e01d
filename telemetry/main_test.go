package telemetry_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"dixie/spansanitizer"
	"dixie/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hardhat = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

// noEnvironment has no variable set.
func noEnvironment(string) string { return "" }

// exporter is an exporter in a function.
type exporter func(context.Context, []sdktrace.ReadOnlySpan) error

func (f exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return f(ctx, spans)
}

func (exporter) Shutdown(context.Context) error { return nil }

// startWith starts with an exporter in a function. The caller shuts down.
func startWith(t testing.TB, cfg telemetry.Config, export exporter) *telemetry.Telemetry {
	t.Helper()
	cfg.Endpoint = "collector.invalid:4317"
	tel, err := telemetry.StartWith(cfg, noEnvironment, export)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	return tel
}

// endSpans records n spans.
func endSpans(ctx context.Context, tel *telemetry.Telemetry, n int) {
	tracer := tel.Tracer()
	for range n {
		_, span := spansanitizer.StartSpan(ctx, tracer, spansanitizer.Auth)
		span.End()
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer // GUARDED_BY(mu)
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
