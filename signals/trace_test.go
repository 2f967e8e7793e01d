package signals_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
)

// TestTraceHeader is T4.6: a signal says of which trace it is a part, and bears no header of one that is not
// valid. The payload stays as it is.
func TestTraceHeader(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	p := open(t, nats.ClientURL())
	ready(t, p)
	type headers struct{ Parent, State string }
	var want []headers
	for _, c := range []struct{ trace, state, wantTrace, wantState string }{
		{parent, state, parent, state},
		{parent, "", parent, ""},
		{parent, "a=1\r\nNats-Msg-Id: 1", parent, ""},
		{parent, "a=" + strings.Repeat("v", 250) + ",b=" + strings.Repeat("v", 260), parent, ""},
		{"", state, "", ""},
		{"00-00000000000000000000000000000000-0000000000000000-01", state, "", ""},
		{strings.ToUpper(parent), state, "", ""},
		{"ff" + parent[2:], state, "", ""},
		{"cc" + parent[2:] + "-" + strings.Repeat("x", 10_000), state, "", ""},
		{parent[:53] + "\r\n", state, "", ""},
	} {
		e := spawned()
		e.TraceParent, e.TraceState = c.trace, c.state
		// The trace of whoever calls is not that of the task.
		if err := p.Fleet(inTrace(t.Context()), "", e); err != nil {
			t.Fatal(err)
		}
		want = append(want, headers{c.wantTrace, c.wantState})
	}
	plain, denied := spawned(), fleet.Event{Type: fleet.SpawnDenied, At: noon(), TraceParent: parent, TraceState: state}
	p.OfferFleet(inTrace(t.Context()), plain)
	p.OfferFleet(t.Context(), denied)
	p.Interaction(inTrace(t.Context()), turn("s-1"))
	p.Interaction(t.Context(), turn("s-2"))
	want = append(want, headers{}, headers{parent, state}, headers{parent, state}, headers{})
	closeWell(t, p)
	var got []headers
	for _, m := range stored(t, nats.ClientURL()) {
		got = append(got, headers{m.trace, m.state})
		if strings.Contains(m.body, "0af7651916cd43dd") || strings.Contains(m.body, "b@c") {
			t.Errorf("the payload has the trace: %s", m.body)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// TestTraceHeaderSurvivesAnOutage has signals wait for NATS, each with its trace.
func TestTraceHeaderSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	p := open(t, nats.ClientURL())
	ready(t, p)
	nats.stop()
	e := spawned()
	e.TraceParent, e.TraceState = parent, state
	p.Interaction(inTrace(t.Context()), turn("s-1"))
	p.Interaction(t.Context(), turn("s-2"))
	p.OfferFleet(t.Context(), e)
	nats.run(t)
	eventually(t, "published", func() bool { return p.Stats().Published == 3 })
	closeWell(t, p)
	var got []string
	for _, m := range stored(t, nats.ClientURL()) {
		got = append(got, m.trace+" "+m.state)
	}
	both := parent + " " + state
	if diff := cmp.Diff([]string{both, " ", both}, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}
