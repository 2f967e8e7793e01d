package contextlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"dixie/internal/contextlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type key struct{}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}

func inTrace(ctx context.Context) context.Context {
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{0xab}, SpanID: trace.SpanID{1},
	}))
}

// TestIDs is T4.1: a line says which request and which trace it belongs to.
func TestIDs(t *testing.T) {
	t.Parallel()
	request := context.WithValue(t.Context(), key{}, "r-1")
	for name, tc := range map[string]struct {
		ctx  context.Context
		want map[string]any
	}{
		"neither": {t.Context(), map[string]any{"msg": "line", "a": "b", "service": "s"}},
		"request": {request, map[string]any{"msg": "line", "a": "b", "service": "s", "request_id": "r-1"}},
		"trace":   {inTrace(t.Context()), map[string]any{"msg": "line", "a": "b", "service": "s", "trace_id": "ab000000000000000000000000000000"}},
		"both": {inTrace(request), map[string]any{
			"msg": "line", "a": "b", "service": "s", "request_id": "r-1", "trace_id": "ab000000000000000000000000000000",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			h := contextlog.New(contextlog.New(slog.NewJSONHandler(&out, nil), requestID), requestID) // Twice changes nothing,
			h = contextlog.New(between{h}, requestID)                                                 // nor does it with another in between.
			slog.New(h).With("service", "s").InfoContext(tc.ctx, "line", "a", "b")
			for _, key := range []string{"request_id", "trace_id"} {
				if n := bytes.Count(out.Bytes(), []byte(key)); n > 1 {
					t.Errorf("%s is there %d times: %s", key, n, &out)
				}
			}
			var got map[string]any
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			delete(got, "time")
			delete(got, "level")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// between is a handler of a host's.
type between struct{ slog.Handler }

// WithAttrs implements slog.Handler.
func (h between) WithAttrs(attrs []slog.Attr) slog.Handler {
	return between{h.Handler.WithAttrs(attrs)}
}

// TestSharedRecord: what is added does not get into the caller's record.
func TestSharedRecord(t *testing.T) {
	t.Parallel()
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "line", 0)
	for i := range 7 {
		r.AddAttrs(slog.Int("n", i))
	}
	var first, second bytes.Buffer
	ctx := context.WithValue(t.Context(), key{}, "r-1")
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := contextlog.New(slog.NewTextHandler(out, nil), requestID).Handle(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if first.String() != second.String() || bytes.Contains(second.Bytes(), []byte("BUG")) || r.NumAttrs() != 7 {
		t.Errorf("%d attributes\n%s%s", r.NumAttrs(), &first, &second)
	}
}

func TestHandlerContract(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	h := contextlog.New(slog.NewJSONHandler(&out, nil), requestID)
	err := slogtest.TestHandler(h, func() []map[string]any {
		var lines []map[string]any
		for line := range bytes.Lines(out.Bytes()) {
			var fields map[string]any
			if err := json.Unmarshal(line, &fields); err != nil {
				t.Error(err)
			}
			lines = append(lines, fields)
		}
		return lines
	})
	if err != nil {
		t.Error(err)
	}
}

// nowhere takes every line and keeps none.
type nowhere struct{ slog.Handler }

func (nowhere) Handle(context.Context, slog.Record) error { return nil }

// TestNothingToAddCostsNothing must not run beside others: it counts allocations.
//
//nolint:paralleltest // As above.
func TestNothingToAddCostsNothing(t *testing.T) {
	h := contextlog.New(nowhere{slog.NewTextHandler(&bytes.Buffer{}, nil)}, requestID)
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "line", 0)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _ = h.Handle(ctx, r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
