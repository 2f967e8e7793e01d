package instruments_test

import (
	"context"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.uber.org/goleak"

	"dixie/internal/instruments"
	"dixie/internal/otlptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// useAll calls everything there is.
func useAll(ctx context.Context, i *instruments.Instruments) {
	i.Routes([]string{"/api/chat"})
	for range 2 {
		i.Begin(ctx, "/api/chat", http.MethodPost).End(ctx, http.StatusOK, time.Second)
	}
	i.Begin(ctx, "/nowhere", "POKE").End(ctx, 0, time.Second)
	i.Begin(ctx, "/nowhere", "GET").End(ctx, -1, time.Second)
	i.CircuitChanged("open")
	i.CircuitChanged("ajar")
	i.FinnCalled("send", instruments.CallAnswered, time.Second)
	i.FinnCalled("send", "whatever", time.Second)
	i.Admitted(ctx)
	i.Denied(ctx, "budget_exceeded")
	i.Denied(ctx, "the weather")
	i.TaskEnded(ctx, instruments.TaskCompleted, "")
	i.TaskEnded(ctx, instruments.TaskFailed, "timeout")
	i.TaskEnded(ctx, instruments.TaskFailed, "the weather")
	i.TaskEnded(ctx, instruments.TaskCancelled, "the weather")
	i.BatchEnded(ctx, instruments.Batch{Recorded: 2, Duplicates: 1, Took: time.Second})
	i.BatchEnded(ctx, instruments.Batch{Failed: 3, Took: time.Second})
	i.LimitExceeded(ctx, instruments.LimitRequests)
	i.LimiterFellBack(ctx)
	i.SignInEnded(ctx, instruments.SignedIn)
	i.StreamOpened(ctx)
	i.StreamClosed(ctx)
	i.SocketOpened(ctx)
	i.SocketClosed(ctx)
}

func TestOffIsFree(t *testing.T) {
	t.Parallel()
	i, err := instruments.New(nil)
	if err != nil || i != nil {
		t.Fatalf("%v, %v", i, err)
	}
	useAll(t.Context(), i)
	var none *sdkmetric.MeterProvider
	if i, err := instruments.New(none); err != nil || i != nil {
		t.Errorf("a nil pointer: %v, %v", i, err)
	}
	if off, err := instruments.New(noop.NewMeterProvider()); err != nil || off == nil {
		t.Errorf("no-op: %v, %v", off, err)
	}
}

// TestOffAllocatesNothing runs alone, because it counts what the process allocates.
func TestOffAllocatesNothing(t *testing.T) { //nolint:paralleltest // See above.
	var off *instruments.Instruments
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { useAll(ctx, off) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestWords holds which words come out, and what becomes of others.
func TestWords(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	i, err := instruments.New(provider)
	if err != nil {
		t.Fatal(err)
	}
	useAll(t.Context(), i)
	got := otlptest.Values(t, reader)
	maps.DeleteFunc(got, func(_ string, n int64) bool { return n == 0 })
	want := map[string]int64{
		"http.server.request.duration http.request.method=POST,http.route=/api/chat,status_class=2xx":      2,
		"http.server.request.duration http.request.method=other,http.route=unmatched,status_class=aborted": 1,
		"http.server.request.duration http.request.method=GET,http.route=unmatched,status_class=aborted":   1,
		"dixie.finn.circuit.transitions state=open":                                                        1,
		"dixie.finn.call.duration operation=send,outcome=answered":                                         1,
		"dixie.governance.admissions decision=admit,reason=none":                                           1,
		"dixie.governance.admissions decision=deny,reason=budget_exceeded":                                 1,
		"dixie.governance.admissions decision=deny,reason=other":                                           1,
		"dixie.fleet.task.outcomes outcome=completed,reason=none":                                          1,
		"dixie.fleet.task.outcomes outcome=failed,reason=timeout":                                          1,
		"dixie.fleet.task.outcomes outcome=failed,reason=other":                                            1,
		"dixie.fleet.task.outcomes outcome=cancelled,reason=none":                                          1,
		"dixie.reputation.events outcome=recorded":                                                         2,
		"dixie.reputation.events outcome=duplicate":                                                        1,
		"dixie.reputation.events outcome=failed":                                                           3,
		"dixie.reputation.batch.duration outcome=recorded":                                                 1,
		"dixie.reputation.batch.duration outcome=failed":                                                   1,
		"dixie.ratelimit.refusals limit=requests":                                                          1,
		"dixie.ratelimit.fallbacks ":                                                                       1,
		"dixie.auth.sign_ins outcome=signed_in":                                                            1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkRequest(b *testing.B) {
	on, err := instruments.New(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	if err != nil {
		b.Fatal(err)
	}
	on.Routes([]string{"/api/chat"})
	for name, i := range map[string]*instruments.Instruments{"off": nil, "on": on} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				i.Begin(b.Context(), "/api/chat", http.MethodPost).End(b.Context(), http.StatusOK, time.Millisecond)
			}
		})
	}
}
