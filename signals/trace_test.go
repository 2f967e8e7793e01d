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
	var want []string
	for _, c := range []struct{ trace, header string }{
		{parent, parent},
		{"", ""},
		{"00-00000000000000000000000000000000-0000000000000000-01", ""},
		{strings.ToUpper(parent), ""},
		{"ff" + parent[2:], ""},
		{"cc" + parent[2:] + "-" + strings.Repeat("x", 10_000), ""},
		{parent[:53] + "\r\n", ""},
	} {
		e := spawned()
		e.TraceParent = c.trace
		// The trace of whoever calls is not that of the task.
		if err := p.Fleet(inTrace(t.Context()), "", e); err != nil {
			t.Fatal(err)
		}
		want = append(want, c.header)
	}
	plain, denied := spawned(), fleet.Event{Type: fleet.SpawnDenied, At: noon(), TraceParent: parent}
	p.OfferFleet(inTrace(t.Context()), plain)
	p.OfferFleet(t.Context(), denied)
	p.Interaction(inTrace(t.Context()), turn("s-1"))
	p.Interaction(t.Context(), turn("s-2"))
	want = append(want, "", parent, parent, "")
	closeWell(t, p)
	var got []string
	for _, m := range stored(t, nats.ClientURL()) {
		got = append(got, m.trace)
		if strings.Contains(m.body, "0af7651916cd43dd") {
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
	e.TraceParent = parent
	p.Interaction(inTrace(t.Context()), turn("s-1"))
	p.Interaction(t.Context(), turn("s-2"))
	p.OfferFleet(t.Context(), e)
	nats.run(t)
	eventually(t, "published", func() bool { return p.Stats().Published == 3 })
	closeWell(t, p)
	var got []string
	for _, m := range stored(t, nats.ClientURL()) {
		got = append(got, m.trace)
	}
	if diff := cmp.Diff([]string{parent, "", parent}, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}
