package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"dixie/spansanitizer"
)

// complainEvery is the shortest time between two lines about a collector that stays away.
const complainEvery = time.Minute

var errPanicked = errors.New("telemetry: the exporter panicked")

// delivery counts what is sent, keeps failures from OpenTelemetry's error handler, which is the process's, and can be
// called off.
type delivery struct {
	next   sdktrace.SpanExporter
	queue  *queue
	logger *slog.Logger

	callOff func()
	off     chan struct{}
	ended   chan struct{}

	mu         sync.Mutex
	failing    bool      // GUARDED_BY(mu)
	complained time.Time // GUARDED_BY(mu)
}

var _ sdktrace.SpanExporter = (*delivery)(nil)

func newDelivery(next sdktrace.SpanExporter, logger *slog.Logger) *delivery {
	off := make(chan struct{})
	return &delivery{
		next: next, logger: logger,
		callOff: sync.OnceFunc(func() { close(off) }), off: off, ended: make(chan struct{}),
	}
}

// ExportSpans never fails: whoever asks has no better idea than to drop the spans.
func (d *delivery) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-d.off:
			cancel()
		case <-ctx.Done():
		}
	}()
	n := int64(len(spans))
	refused, err := d.export(ctx, spans)
	d.queue.settle(n, refused)
	d.report(ctx, err)
	return nil
}

// export returns how many of the spans did not arrive, and why.
func (d *delivery) export(ctx context.Context, spans []sdktrace.ReadOnlySpan) (refused int64, err error) {
	n := int64(len(spans))
	defer func() {
		if value := recover(); value != nil {
			refused, err = n, fmt.Errorf("%w: %T", errPanicked, value)
		}
	}()
	ctx, verdict := withVerdict(ctx)
	if err := d.next.ExportSpans(ctx, spans); err != nil {
		return n, err //nolint:wrapcheck // It is logged as it is.
	}
	return verdict.of(n)
}

// report logs the first failure, be it in part, one a minute of those that follow, and the end of them.
func (d *delivery) report(ctx context.Context, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil && d.failing:
		d.failing = false
		d.logger.InfoContext(ctx, "trace_export_recovered", "spans_dropped", d.queue.dropped.Load())
	case err == nil, d.failing && now.Sub(d.complained) < complainEvery:
	default:
		d.failing, d.complained = true, now
		d.logger.WarnContext(ctx, "trace_export_failed", "error", spansanitizer.ErrorText(reason(err)), "spans_dropped", d.queue.dropped.Load())
	}
}

// reason is the text of an error, to be sanitised: a collector's answer may repeat what it was sent. What gRPC itself says
// of its connection stands in quotation marks, of which nothing would be left.
func reason(err error) string {
	text := err.Error()
	const connection = "connection error: desc = "
	if before, after, ok := strings.Cut(text, connection); ok {
		if quoted, err := strconv.QuotedPrefix(after); err == nil {
			words, _ := strconv.Unquote(quoted) // It is quoted well.
			text = before + "connection error: " + words
		}
	}
	return text
}

// Shutdown closes the connection.
func (d *delivery) Shutdown(ctx context.Context) error {
	defer close(d.ended)
	return d.next.Shutdown(ctx) //nolint:wrapcheck // The exporter's error is the answer.
}
