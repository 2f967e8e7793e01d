package fleet_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"dixie/fleet"
	"dixie/fleet/memory"
	"dixie/spansanitizer"
)

// attempts notes in which trace the attempts run.
type attempts struct {
	mu    sync.Mutex
	spans []trace.SpanContext
}

func (a *attempts) add(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spans = append(a.spans, trace.SpanContextFromContext(ctx))
}

// TestAttemptsRunInTheTraceOfTheSpawn is T4.6 and T4.7 for tasks: all attempts and all events belong to the
// trace of the spawn.
func TestAttemptsRunInTheTraceOfTheSpawn(t *testing.T) {
	t.Parallel()
	r := newTracing()
	var seen attempts
	var spawned fleet.Task
	inBubble(t, func(ctx context.Context, job fleet.Job, _ fleet.Report) error {
		seen.add(ctx)
		if job.Task.Attempt < 3 {
			return errOuch
		}
		return nil
	}, func(t *testing.T, b *bundle) {
		ctx, outer := spansanitizer.StartSpan(trace.ContextWithSpanContext(t.Context(), client(t)), r.tracer, spansanitizer.Request)
		answer, err := b.Spawn(ctx, request())
		if err != nil {
			t.Fatal(err)
		}
		outer.End()
		spawned = answer.Task
		b.pass(time.Hour)
		b.want(b.get(spawned.ID), fleet.Completed)

		var parent trace.SpanContext
		for _, s := range r.recorder.Ended() {
			if s.Name() == spansanitizer.FleetSpawn {
				parent = s.SpanContext()
			}
		}
		if want := "00-" + parent.TraceID().String() + "-" + parent.SpanID().String() + "-01"; spawned.TraceParent != want {
			t.Errorf("the task remembers %q, want %q", spawned.TraceParent, want)
		}
		if spawned.TraceState != clientState {
			t.Errorf("the task remembers the state %q, want that of the client", spawned.TraceState)
		}
		if len(seen.spans) != 3 {
			t.Fatalf("%d attempts, want 3", len(seen.spans))
		}
		state, err := trace.ParseTraceState(clientState)
		if err != nil {
			t.Fatal(err)
		}
		restored := parent.WithRemote(true).WithTraceState(state) // The span itself has no state of a client's.
		for i, got := range seen.spans {
			if !got.Equal(restored) {
				t.Errorf("attempt %d runs in %v, want %v", i+1, got, restored)
			}
		}
		if kinds := b.events.types(); len(kinds) != 4 {
			t.Errorf("events %v, want 4", kinds)
		}
		for _, e := range b.events.all {
			if e.TraceParent != spawned.TraceParent || e.TraceState != clientState {
				t.Errorf("the event %s has the trace %q, %q, want that of the task", e.Type, e.TraceParent, e.TraceState)
			}
		}
	}, r.on)
}

// clientState is what the vendors of a client's trace have to say.
const clientState = "a=1,b@c=2"

// client is a span of somebody who calls.
func client(t *testing.T) trace.SpanContext {
	t.Helper()
	state, err := trace.ParseTraceState(clientState)
	if err != nil {
		t.Fatal(err)
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
	})
}

// TestTraceWithoutTracer is T4.6: the trace of a caller is handed on while no spans are recorded here.
func TestTraceWithoutTracer(t *testing.T) {
	t.Parallel()
	outer := client(t)
	var seen attempts
	inBubble(t, func(ctx context.Context, _ fleet.Job, _ fleet.Report) error {
		seen.add(ctx)
		return nil
	}, func(t *testing.T, b *bundle) {
		for _, ctx := range []context.Context{trace.ContextWithSpanContext(t.Context(), outer), t.Context()} {
			if _, err := b.Spawn(ctx, request()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if diff := cmp.Diff([]trace.SpanContext{outer, {}}, seen.spans, cmp.Comparer(trace.SpanContext.Equal)); diff != "" {
			t.Errorf("the attempts run in (-want +got):\n%s", diff)
		}
		if got, want := b.events.all[0].TraceParent, "00-01000000000000000000000000000000-0200000000000000-01"; got != want {
			t.Errorf("the task remembers %q, want %q", got, want)
		}
		if got := b.events.all[0].TraceState; got != clientState {
			t.Errorf("the task remembers the state %q, want %q", got, clientState)
		}
	})
}

// TestDenialsAreToldOfInTheirTrace is T4.6: there is no task to remember the trace, only the event.
func TestDenialsAreToldOfInTheirTrace(t *testing.T) {
	t.Parallel()
	r := newTracing()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		ctx, outer := spansanitizer.StartSpan(trace.ContextWithSpanContext(t.Context(), client(t)), r.tracer, spansanitizer.Request)
		defer outer.End()
		if _, err := b.Spawn(ctx, request()); err == nil {
			t.Fatal("the spawn is admitted")
		}
		if kinds := b.events.types(); len(kinds) != 1 || kinds[0] != fleet.SpawnDenied {
			t.Fatalf("events %v", kinds)
		}
		if got, id := b.events.all[0].TraceParent, outer.SpanContext().TraceID().String(); !strings.HasPrefix(got, "00-"+id) {
			t.Errorf("the event has the trace %q, want %s", got, id)
		}
		if got := b.events.all[0].TraceState; got != clientState {
			t.Errorf("the event has the state %q, want %q", got, clientState)
		}
	}, r.on, func(cfg *fleet.Config) { cfg.Policy = deny("budget_exceeded") })
}

// TestTraceThatIsNotValid is T4.1: what a store returns that is no trace is none, and the attempt is no part of
// that in which the service was started either.
func TestTraceThatIsNotValid(t *testing.T) {
	t.Parallel()
	const ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
	for name, c := range map[string]struct {
		parent, state string
		valid         bool
		wantState     string
	}{
		"valid":               {"00-" + ids + "-01", clientState, true, clientState},
		"no state":            {"00-" + ids + "-01", "", true, ""},
		"a state that is not": {"00-" + ids + "-01", "words of " + alice, true, ""},
		"too long a state":    {"00-" + ids + "-01", "a=" + strings.Repeat("v", 250) + ",b=" + strings.Repeat("v", 260), true, ""},
		"none":                {"", clientState, false, ""},
		"words":               {"words of " + alice, clientState, false, ""},
		"zeros":               {"00-00000000000000000000000000000000-0000000000000000-01", clientState, false, ""},
		"upper case":          {"00-" + strings.ToUpper(ids) + "-01", clientState, false, ""},
		"version ff":          {"ff-" + ids + "-01", clientState, false, ""},
		"reserved flag":       {"00-" + ids + "-08", clientState, false, ""},
		"extra fields":        {"cc-" + ids + "-01-" + strings.Repeat("x", 100_000), clientState, false, ""},
		"short":               {"00-" + ids + "-1", clientState, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var seen attempts
				store := memory.New(memory.Config{})
				service, err := fleet.New(fleet.Config{Store: store, Policy: limitPolicy{}, Runner: fleet.RunnerFunc(
					func(ctx context.Context, _ fleet.Job, _ fleet.Report) error {
						seen.add(ctx)
						return nil
					})})
				if err != nil {
					t.Fatal(err)
				}
				starter := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{9}, SpanID: trace.SpanID{9}})
				if err := service.Start(trace.ContextWithSpanContext(t.Context(), starter)); err != nil {
					t.Fatal(err)
				}
				at := time.Now().UTC()
				_, err = store.Admit(t.Context(), fleet.NewTask{Task: fleet.Task{
					ID: "0198c0de-0000-7000-8000-000000000001", Operator: alice, Status: fleet.Proposed, Attempt: 1,
					Timeout: time.Hour, CreatedAt: at, UpdatedAt: at, TraceParent: c.parent, TraceState: c.state,
				}}, func(fleet.Snapshot) fleet.Decision { return fleet.Decision{Admit: true} })
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if len(seen.spans) != 1 || seen.spans[0].IsValid() != c.valid || seen.spans[0].TraceState().String() != c.wantState {
					t.Errorf("%d attempts, in %v", len(seen.spans), seen.spans)
				}
				if err := service.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
