package admission_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"dixie/fleet"
	"dixie/fleet/memory"
	"dixie/governance"
	"dixie/internal/admission"
	"dixie/spansanitizer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestDenialReasons is T2.8 and T4.5: what the real policy says reaches the span of the admission and that of the
// dry run, word by word. A denial is no failure.
func TestDenialReasons(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tier   governance.Tier
		budget int64
		before int // Tasks that the operator has.
		want   map[string]string
	}{
		"admitted": {governance.Builder, 1_000_000, 0, map[string]string{"decision": "admit"}},
		"tier": {
			governance.Observer, 1_000_000, 0,
			map[string]string{"decision": "deny", "denial_reason": "tier_not_permitted"},
		},
		"limit": {
			governance.Builder, 1_000_000, governance.Builder.FleetLimit(),
			map[string]string{"decision": "deny", "denial_reason": "tier_limit_exceeded"},
		},
		"budget": {
			governance.Builder, 1, 0,
			map[string]string{"decision": "deny", "denial_reason": "budget_exceeded"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy, err := governance.NewPolicy(governance.PolicyConfig{BudgetMicroUSD: c.budget})
			if err != nil {
				t.Fatal(err)
			}
			recorder := tracetest.NewSpanRecorder()
			service, err := fleet.New(fleet.Config{
				Store: memory.New(memory.Config{}), Runner: fleet.RunnerFunc(nil), Policy: admission.New(policy),
				Tracer: spansanitizer.NewTracer(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)), nil),
			})
			if err != nil {
				t.Fatal(err)
			}
			asked := fleet.SpawnRequest{
				Operator: "alice", Tier: c.tier.String(), TaskType: "docs", Description: "Write", Repository: "acme/house",
			}
			for range c.before {
				if _, err := service.Spawn(t.Context(), asked); err != nil {
					t.Fatal(err)
				}
			}
			before := len(recorder.Ended())
			if _, err := service.Preview(t.Context(), fleet.Request{Operator: "alice", Tier: asked.Tier, TaskType: "docs"}); err != nil {
				t.Fatal(err)
			}
			_, err = service.Spawn(t.Context(), asked)
			var denied *fleet.DeniedError
			if errors.As(err, &denied) != (c.want["decision"] == "deny") {
				t.Errorf("Spawn: %v", err)
			}
			c.want["resource_type"], c.want["witness_count"] = "fleet_task", "3"
			checks := 0
			for _, span := range recorder.Ended()[before:] {
				if len(span.Events()) > 0 || span.Status() != (sdktrace.Status{}) {
					t.Errorf("%s has failed: %+v", span.Name(), span.Status())
				}
				if span.Name() != spansanitizer.GovernanceCheck {
					continue
				}
				checks++
				got := make(map[string]string)
				for _, kv := range span.Attributes() {
					got[string(kv.Key)] = kv.Value.String()
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("attributes (-want +got):\n%s", diff)
				}
			}
			if checks != 2 {
				t.Errorf("%d checks, want that of the dry run and that of the spawn", checks)
			}
		})
	}
}
