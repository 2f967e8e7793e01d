package fleet_test

import (
	"context"
	"errors"
	"testing"
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
