package telemetry_test

import (
	"cmp"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"dixie/telemetry"
)

// TestAbandonedFlushesTakeNoPlace gives up flush after flush while the exporter hangs; then it is well, and the queue holds
// as much as ever.
func TestAbandonedFlushesTakeNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		tel := startWith(t, telemetry.Config{QueueSize: 8}, func(context.Context, []sdktrace.ReadOnlySpan) error {
			<-hang
			return nil
		})
		endSpans(t.Context(), tel, 2)
		for range 40 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := tel.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Flush: %v, want a deadline", err)
			}
			cancel()
		}
		endSpans(t.Context(), tel, 20)
		if diff := gocmp.Diff(telemetry.Stats{Ended: 22, Dropped: 14, Queued: 8}, tel.Stats()); diff != "" {
			t.Errorf("hanging: %s", diff)
		}
		close(hang)
		for round := range int64(3) {
			if err := tel.Flush(t.Context()); err != nil {
				t.Errorf("Flush: %v", err)
			}
			if diff := gocmp.Diff(telemetry.Stats{Ended: 22 + 8*round, Exported: 8 + 8*round, Dropped: 14}, tel.Stats()); diff != "" {
				t.Errorf("well again: %s", diff)
			}
			endSpans(t.Context(), tel, 8)
		}
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if diff := gocmp.Diff(telemetry.Stats{Ended: 46, Exported: 32, Dropped: 14}, tel.Stats()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestShutdownDuringFlushes: neither an abandoned flush nor one that waits for it holds Shutdown up, or stays behind.
func TestShutdownDuringFlushes(t *testing.T) {
	t.Parallel()
	for name, stuck := range map[string]bool{"the exporter heeds its context": false, "the exporter is stuck": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				// Batches of one: the processor itself exports, and comes to no mark.
				tel := startWith(t, telemetry.Config{QueueSize: 4}, func(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
					if stuck {
						<-release
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				})
				endSpans(t.Context(), tel, 1)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := tel.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Flush: %v, want a deadline", err)
				}
				waited := make(chan error, 1)
				go func() { waited <- tel.Flush(context.WithoutCancel(t.Context())) }()
				synctest.Wait()
				begin := time.Now()
				if err := tel.Shutdown(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Shutdown: %v, want a deadline", err)
				}
				if err := <-waited; err != nil {
					t.Errorf("the flush that waited: %v", err)
				}
				if took := time.Since(begin); took > telemetry.ShutdownLimit {
					t.Errorf("Shutdown took %v", took)
				}
				if diff := gocmp.Diff(telemetry.Stats{Ended: 1, Dropped: 1}, tel.Stats()); diff != "" {
					t.Error(diff)
				}
				close(release)
				// synctest fails the test when a goroutine is left.
			})
		})
	}
}

// TestShutdownDuringTheExportOfAFlush: the flush that was given up is past its mark. It holds a lock of the processor,
// for which the clock of a synctest bubble would not move.
func TestShutdownDuringTheExportOfAFlush(t *testing.T) {
	t.Parallel()
	exporting := make(chan struct{}, 1)
	tel := startWith(t, telemetry.Config{}, func(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
		exporting <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	endSpans(t.Context(), tel, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- tel.Flush(ctx) }()
	<-exporting
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("Flush: %v, want canceled", err)
	}
	go func() { second <- tel.Flush(context.WithoutCancel(t.Context())) }()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := tel.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v, want a deadline", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the flush that waited: %v", err)
	}
	if took := time.Since(begin); took > telemetry.ShutdownLimit {
		t.Errorf("Shutdown took %v", took)
	}
	if diff := gocmp.Diff(telemetry.Stats{Ended: 1, Dropped: 1}, tel.Stats()); diff != "" {
		t.Error(diff)
	}
	// goleak tells whether anything is left.
}

func TestFlushWithAnEndedContext(t *testing.T) {
	t.Parallel()
	tel := startWith(t, telemetry.Config{}, func(context.Context, []sdktrace.ReadOnlySpan) error { return nil })
	endSpans(t.Context(), tel, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tel.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Flush: %v, want canceled", err)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestTimesOfBatches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		// want is 0 for the default.
		want time.Duration
	}{
		{"", 0}, {"0", 0}, {"-1", 0}, {"soon", 0}, {"1", time.Millisecond}, {" 250 ", 250 * time.Millisecond},
		{"9223372036854775807", 24 * time.Hour}, {"9223372036855", 24 * time.Hour}, {"99999999999999999999", 0},
	} {
		text := tt.text
		delay, timeout := telemetry.BatchTimes(func(name string) string {
			if name == "OTEL_BSP_SCHEDULE_DELAY" {
				return text
			}
			return ""
		})
		if wanted := cmp.Or(tt.want, 5*time.Second); delay != wanted || timeout != 30*time.Second {
			t.Errorf("delay %q: %v, %v, want %v", text, delay, timeout, wanted)
		}
		delay, timeout = telemetry.BatchTimes(func(name string) string {
			if name == "OTEL_BSP_EXPORT_TIMEOUT" {
				return text
			}
			return ""
		})
		if wanted := cmp.Or(tt.want, 30*time.Second); delay != 5*time.Second || timeout != wanted {
			t.Errorf("timeout %q: %v, %v, want %v", text, delay, timeout, wanted)
		}
	}
}

// TestDelayOfZeroIsTheDefault: the SDK would take it, and its processor would run without rest.
func TestDelayOfZeroIsTheDefault(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "0")
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "0")
	synctest.Test(t, func(t *testing.T) {
		type export struct{ after, within time.Duration }
		begin, exports := time.Now(), make(chan export, 1)
		tel := startWith(t, telemetry.Config{}, func(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
			deadline, _ := ctx.Deadline()
			exports <- export{time.Since(begin), time.Until(deadline)}
			return nil
		})
		endSpans(t.Context(), tel, 1)
		if got, want := <-exports, (export{5 * time.Second, 30 * time.Second}); got != want {
			t.Errorf("exported after and within %v, want %v", got, want)
		}
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// TestBatchIsAQuarterOfTheQueue: spans leave before the timer, and while the queue has room.
func TestBatchIsAQuarterOfTheQueue(t *testing.T) {
	t.Parallel()
	for queue, want := range map[int]int{1: 1, 4: 1, 100: 25, 2047: 511, 2048: 512, 1 << 16: 512} {
		_, _, batch, err := telemetry.Resolved(telemetry.Config{Endpoint: "a", QueueSize: queue}, noEnvironment)
		if err != nil || batch != want {
			t.Errorf("a queue of %d has batches of %d, want %d: %v", queue, batch, want, err)
		}
	}
}
