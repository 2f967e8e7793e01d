package fleet_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"dixie/fleet"
	"dixie/fleet/memory"
	"dixie/spansanitizer"
)

// aliceHash stands for alice in spans.
const aliceHash = "fe0b69027af0"

// span is one as a test wants it.
type span struct {
	Name, Parent string
	Status       codes.Code
	Attributes   map[string]string
	Exception    string
}

// tracing is a tracer and the spans that it has ended.
type tracing struct {
	tracer   spansanitizer.Tracer
	recorder *tracetest.SpanRecorder
}

func newTracing() *tracing {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	return &tracing{spansanitizer.NewTracer(provider, nil), recorder}
}

// on puts the tracer into a configuration.
func (r *tracing) on(cfg *fleet.Config) { cfg.Tracer = r.tracer }

// request calls f within a request and returns the spans that ended in it, in the order of their ends, without
// that of the request.
func (r *tracing) request(ctx context.Context, t *testing.T, f func(context.Context)) []span {
	t.Helper()
	before := len(r.recorder.Ended())
	ctx, outer := spansanitizer.StartSpan(ctx, r.tracer, spansanitizer.Request)
	f(ctx)
	outer.End()
	ended := r.recorder.Ended()[before:]
	names := make(map[trace.SpanID]string)
	for _, s := range ended {
		names[s.SpanContext().SpanID()] = s.Name()
		if s.SpanContext().TraceID() != outer.SpanContext().TraceID() {
			t.Errorf("%s is in a trace of its own", s.Name())
		}
	}
	var out []span
	for _, s := range ended[:len(ended)-1] {
		got := span{Name: s.Name(), Parent: names[s.Parent().SpanID()], Status: s.Status().Code, Attributes: make(map[string]string)}
		for _, kv := range s.Attributes() {
			got.Attributes[string(kv.Key)] = kv.Value.String()
		}
		for _, event := range s.Events() {
			for _, kv := range event.Attributes {
				if kv.Key == spansanitizer.ExceptionMessage {
					got.Exception = kv.Value.String()
				}
			}
		}
		out = append(out, got)
	}
	return out
}

// policyFunc is a function as a policy.
type policyFunc func(fleet.Request, fleet.Snapshot) fleet.Decision

func (f policyFunc) Decide(asked fleet.Request, counted fleet.Snapshot) fleet.Decision {
	return f(asked, counted)
}

func deny(reason string) policyFunc {
	return func(asked fleet.Request, counted fleet.Snapshot) fleet.Decision {
		d := limitPolicy{}.Decide(asked, counted)
		d.Admit, d.Reason = false, reason
		return d
	}
}

// broken is a store that fails in one way or another when it admits.
type broken struct {
	*memory.Store

	admit func(decide func(fleet.Snapshot) fleet.Decision) error
}

func (s *broken) Admit(ctx context.Context, in fleet.NewTask, decide func(fleet.Snapshot) fleet.Decision) (fleet.Admission, error) {
	if err := s.admit(decide); err != nil {
		return fleet.Admission{}, err
	}
	return s.Store.Admit(ctx, in, decide)
}

func (s *broken) Snapshot(ctx context.Context, operator string, now time.Time) (fleet.Snapshot, error) {
	if err := s.admit(func(fleet.Snapshot) fleet.Decision { return fleet.Decision{} }); err != nil {
		return fleet.Snapshot{}, err
	}
	return s.Store.Snapshot(ctx, operator, now)
}

// The spans of the tests.

func spawnSpan(change ...func(*span)) span {
	s := span{
		Name: "dixie.fleet.spawn", Parent: "dixie.request",
		Attributes: map[string]string{"task_type": "bug_fix", "identity_hash": aliceHash},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func checkSpan(decision, reason string) span {
	s := span{
		Name: "dixie.governance.check", Parent: "dixie.fleet.spawn",
		Attributes: map[string]string{"resource_type": "fleet_task", "decision": decision, "witness_count": "2"},
	}
	if reason != "" {
		s.Attributes["denial_reason"] = reason
	}
	return s
}

func costs(s *span) { s.Attributes["cost"] = "4000" }

func failed(exception string) func(*span) {
	return func(s *span) { s.Status, s.Exception = codes.Error, exception }
}

// TestSpawnSpans is T2.7, T2.8, T4.5 and T4.7: what a spawn says of itself, and of each question to the policy.
func TestSpawnSpans(t *testing.T) {
	t.Parallel()
	away := errors.Join(fleet.ErrStoreUnavailable, errors.New("no answer to "+alice))
	breaking := func(admit func(func(fleet.Snapshot) fleet.Decision) error) func(*fleet.Config) {
		return func(cfg *fleet.Config) { cfg.Store = &broken{memory.New(memory.Config{}), admit} }
	}
	policy := func(p fleet.Policy) func(*fleet.Config) { return func(cfg *fleet.Config) { cfg.Policy = p } }
	for name, c := range map[string]struct {
		config func(*fleet.Config)
		ask    func(*fleet.SpawnRequest)
		want   []span
	}{
		"admitted": {want: []span{checkSpan("admit", ""), spawnSpan(costs)}},
		"tier":     {config: policy(deny("tier_not_permitted")), want: []span{checkSpan("deny", "tier_not_permitted"), spawnSpan()}},
		"limit":    {config: policy(deny("tier_limit_exceeded")), want: []span{checkSpan("deny", "tier_limit_exceeded"), spawnSpan()}},
		"budget":   {config: policy(deny("budget_exceeded")), want: []span{checkSpan("deny", "budget_exceeded"), spawnSpan()}},
		"unnamed":  {config: policy(deny("")), want: []span{checkSpan("deny", ""), spawnSpan()}},
		"invalid": {
			ask:  func(r *fleet.SpawnRequest) { r.TaskType, r.Operator = "my diary", "" },
			want: []span{spawnSpan(func(s *span) { s.Attributes = map[string]string{"task_type": "other"} })},
		},
		"store away": {
			config: breaking(func(func(fleet.Snapshot) fleet.Decision) error { return away }),
			want:   []span{spawnSpan(failed("fleet: admitting: fleet: store unavailable\nno answer to 0x[REDACTED]"))},
		},
		"store fails to commit": {
			config: breaking(func(decide func(fleet.Snapshot) fleet.Decision) error {
				decide(fleet.Snapshot{})
				return fleet.ErrStoreUnavailable
			}),
			want: []span{checkSpan("admit", ""), spawnSpan(failed("fleet: admitting: fleet: store unavailable"))},
		},
		"store tries again": {
			config: breaking(func(decide func(fleet.Snapshot) fleet.Decision) error { decide(fleet.Snapshot{Active: 3}); return nil }),
			want:   []span{checkSpan("deny", "tier_limit_exceeded"), checkSpan("admit", ""), spawnSpan(costs)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTracing()
			config, asked := []func(*fleet.Config){r.on}, request()
			if c.config != nil {
				config = append(config, c.config)
			}
			if c.ask != nil {
				c.ask(&asked)
			}
			inBubble(t, hang, func(t *testing.T, b *bundle) {
				got := r.request(t.Context(), t, func(ctx context.Context) { _, _ = b.Spawn(ctx, asked) })
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("spans (-want +got):\n%s", diff)
				}
			}, config...)
		})
	}
}

// TestSpawnSpansOfAKey is T2.7: the same request again asks no policy and costs nothing, and another one fails.
func TestSpawnSpansOfAKey(t *testing.T) {
	t.Parallel()
	r := newTracing()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		asked := request()
		asked.IdempotencyKey = "key-1"
		first := b.spawn(asked)
		got := r.request(t.Context(), t, func(ctx context.Context) {
			again, err := b.Spawn(ctx, asked)
			if err != nil || !again.Replayed || again.Task.TraceParent != first.TraceParent {
				t.Errorf("Spawn again: %+v, %v", again, err)
			}
			asked.Description += "!"
			if _, err := b.Spawn(ctx, asked); !errors.Is(err, fleet.ErrIdempotencyConflict) {
				t.Errorf("Spawn of something else: %v", err)
			}
		})
		want := []span{spawnSpan(), spawnSpan(failed("fleet: admitting: " + fleet.ErrIdempotencyConflict.Error()))}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
	}, r.on)
}

// TestPanicEndsSpans is T2.7: the panic goes on, its text stays out.
func TestPanicEndsSpans(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]func(*fleet.Config){
		"policy": func(cfg *fleet.Config) {
			cfg.Policy = policyFunc(func(fleet.Request, fleet.Snapshot) fleet.Decision {
				panic("words of " + alice) //nolint:forbidigo // As a policy of others may.
			})
		},
		"store": func(cfg *fleet.Config) {
			cfg.Store = &broken{memory.New(memory.Config{}), func(decide func(fleet.Snapshot) fleet.Decision) error {
				decide(fleet.Snapshot{})
				panic("words of " + alice) //nolint:forbidigo // As a store of others may.
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTracing()
			inBubble(t, hang, func(t *testing.T, b *bundle) {
				got := r.request(t.Context(), t, func(ctx context.Context) {
					defer func() {
						if value := recover(); value != "words of "+alice {
							t.Errorf("panicked with %v", value)
						}
					}()
					_, _ = b.Spawn(ctx, request())
				})
				check := checkSpan("admit", "")
				if name == "policy" {
					failed("panic")(&check)
					check.Attributes = map[string]string{"resource_type": "fleet_task"}
				}
				if diff := cmp.Diff([]span{check, spawnSpan(failed("panic"))}, got); diff != "" {
					t.Errorf("spans (-want +got):\n%s", diff)
				}
			}, r.on, config)
		})
	}
}

// TestPreviewSpans is T2.8 for the dry run, which is a check of its own.
func TestPreviewSpans(t *testing.T) {
	t.Parallel()
	r := newTracing()
	store := &broken{Store: memory.New(memory.Config{})}
	var storeErr error
	store.admit = func(func(fleet.Snapshot) fleet.Decision) error { return storeErr }
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		preview := func(want error) []span {
			return r.request(t.Context(), t, func(ctx context.Context) {
				_, err := b.Preview(ctx, fleet.Request{Operator: alice, Tier: "builder", TaskType: "docs"})
				if !errors.Is(err, want) {
					t.Errorf("Preview: %v, want %v", err, want)
				}
			})
		}
		got := preview(nil)
		for range 3 {
			b.spawn(request())
		}
		got = append(got, preview(nil)...)
		storeErr = fleet.ErrStoreUnavailable
		got = append(got, preview(storeErr)...)
		want := []span{checkSpan("admit", ""), checkSpan("deny", "tier_limit_exceeded"), checkSpan("", "")}
		failed("fleet: counting: fleet: store unavailable")(&want[2])
		want[2].Attributes = map[string]string{"resource_type": "fleet_task"}
		for i := range want {
			want[i].Parent = "dixie.request"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
	}, r.on, func(cfg *fleet.Config) { cfg.Store = store })
}

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
		for i, got := range seen.spans {
			if !got.Equal(parent.WithRemote(true)) {
				t.Errorf("attempt %d runs in %v, want %v", i+1, got, parent)
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
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceState: state, Remote: true,
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
		if got, want := b.events.all[0].TraceParent, "00-01000000000000000000000000000000-0200000000000000-00"; got != want {
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
