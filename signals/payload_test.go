package signals_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
	"dixie/internal/chat"
	"dixie/signals"
)

// TestPayloads holds what is in the stream for each kind of signal.
func TestPayloads(t *testing.T) {
	t.Parallel()
	const at = `"timestamp":"2026-03-04T12:00:00.005Z"`
	task := func(kind fleet.EventType, reason string, retries int) fleet.Event {
		e := spawned()
		e.Type, e.RoutingReason, e.Reason, e.RetryCount = kind, "", reason, retries
		return e
	}
	const head = `"taskId":"task-1","operatorId":"` + alice + `",` + at
	const metadata = `"metadata":{"taskType":"bug_fix","agentType":"claude_code","branch":"fleet/task-1","tier":"architect","model":"native"`
	denied := fleet.Event{Type: fleet.SpawnDenied, Operator: alice, At: noon(), TaskType: "bug_fix", Tier: "builder", Reason: "budget_exceeded"}
	for _, c := range []struct {
		offer         any
		subject, body string
	}{
		{
			turn("s-1"), "dixie.signal.interaction",
			`{"wallet":"` + alice + `","sessionId":"s-1","messageId":"m-1",` + at + `}`,
		},
		{
			chat.Interaction{SessionID: "s-1", MessageID: "m-1", At: noon()}, "dixie.signal.interaction",
			`{"sessionId":"s-1","messageId":"m-1",` + at + `}`,
		},
		{
			spawned(), "dixie.fleet.agent_spawned",
			`{"type":"AGENT_SPAWNED",` + head + `,` + metadata + `,"routingReason":"task_type"}}`,
		},
		{
			task(fleet.AgentCompleted, "", 1), "dixie.fleet.agent_completed",
			`{"type":"AGENT_COMPLETED",` + head + `,` + metadata + `,"retryCount":1}}`,
		},
		{
			task(fleet.AgentFailed, "timeout", 3), "dixie.fleet.agent_failed",
			`{"type":"AGENT_FAILED",` + head + `,` + metadata + `,"reason":"timeout","retryCount":3}}`,
		},
		{
			task(fleet.AgentRetrying, "lost", 0), "dixie.fleet.agent_retrying",
			`{"type":"AGENT_RETRYING",` + head + `,` + metadata + `,"reason":"lost"}}`,
		},
		{
			task(fleet.AgentCancelled, "", 0), "dixie.fleet.agent_cancelled",
			`{"type":"AGENT_CANCELLED",` + head + `,` + metadata + `}}`,
		},
		{
			denied, "dixie.fleet.spawn_denied",
			`{"type":"SPAWN_DENIED","operatorId":"` + alice + `",` + at + `,"metadata":{"taskType":"bug_fix","tier":"builder","reason":"budget_exceeded"}}`,
		},
		{
			fleet.Event{Type: fleet.AgentCompleted, TaskID: "task-2", At: noon()}, "dixie.fleet.agent_completed",
			`{"type":"AGENT_COMPLETED","taskId":"task-2",` + at + `}`,
		},
	} {
		t.Run(c.subject, func(t *testing.T) {
			t.Parallel()
			nats := startNATS(t)
			p := open(t, nats.ClientURL())
			want := []message{{subject: c.subject, body: c.body}}
			switch signal := c.offer.(type) {
			case chat.Interaction:
				p.Interaction(t.Context(), signal)
			case fleet.Event:
				p.OfferFleet(t.Context(), signal)
				ready(t, p)
				if err := p.Fleet(t.Context(), "id-1", signal); err != nil {
					t.Errorf("Fleet: %v", err)
				}
				want = append(want, want[0])
			}
			closeWell(t, p)
			got := stored(t, nats.ClientURL())
			for i := range got {
				got[i].id = ""
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(message{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestTypesThatAreNoWord keeps strange types off the subjects.
func TestTypesThatAreNoWord(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	p := open(t, nats.ClientURL())
	ready(t, p)
	for _, kind := range []fleet.EventType{"", "A.B", "A B", ">", "ÄGENT", "A\r\nPUB"} {
		p.OfferFleet(t.Context(), fleet.Event{Type: kind})
		if err := p.Fleet(t.Context(), "id", fleet.Event{Type: kind}); !isRefused(err) {
			t.Errorf("Fleet(%q) = %v", kind, err)
		}
	}
	closeWell(t, p)
	if got, want := p.Stats(), (signals.Stats{Offered: 6, Failed: 6, FleetFailed: 6}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	if got := stored(t, nats.ClientURL()); len(got) > 0 {
		t.Errorf("stored %v", got)
	}
}
