package tracecontext_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"dixie/internal/tracecontext"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
	ids     = traceID + "-" + spanID
	valid   = "00-" + ids + "-01"
)

// TestExtract is T4.1: what counts as a client's trace context.
func TestExtract(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("v", 200)
	longest := "a=" + long + ",b=" + long + ",c=" + long[:104]
	many := make([]string, 33)
	for i := range many {
		many[i] = "k" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "=1"
	}
	all, most := strings.Join(many, ","), strings.Join(many[:32], ",")
	for name, tc := range map[string]struct {
		parents, states []string
		// parent is what is handed on; empty if there is no context.
		parent, state string
	}{
		"none":                        {},
		"valid":                       {parents: []string{valid}, parent: valid},
		"not sampled":                 {parents: []string{"00-" + ids + "-00"}, parent: "00-" + ids + "-00"},
		"random":                      {parents: []string{"00-" + ids + "-03"}, parent: "00-" + ids + "-03"},
		"reserved flags are ignored":  {parents: []string{"00-" + ids + "-ff"}, parent: "00-" + ids + "-03"},
		"blanks around":               {parents: []string{" \t" + valid + " "}, parent: valid},
		"version ff":                  {parents: []string{"ff-" + ids + "-01"}},
		"future version":              {parents: []string{"cc-" + ids + "-01"}, parent: valid},
		"future version, more fields": {parents: []string{"cc-" + ids + "-01-what-the-future-will-be-like"}, parent: valid},
		"future version, only a dash": {parents: []string{"01-" + ids + "-01-"}, parent: valid},
		"future version, no dash":     {parents: []string{"cc-" + ids + "-01.what"}},
		"version 00, more fields":     {parents: []string{valid + "-what"}},
		"version 00, only a dash":     {parents: []string{valid + "-"}},
		"version not hexadecimal":     {parents: []string{"0x-" + ids + "-01"}},
		"version in upper case":       {parents: []string{"CC-" + ids + "-01"}},
		"trace id of zeros":           {parents: []string{"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01"}},
		"span id of zeros":            {parents: []string{"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01"}},
		"upper case":                  {parents: []string{strings.ToUpper(valid)}},
		"trace id in upper case":      {parents: []string{"00-" + strings.ToUpper(traceID) + "-" + spanID + "-01"}},
		"short":                       {parents: []string{valid[:54]}},
		"short trace id":              {parents: []string{"00-" + traceID[1:] + "-" + spanID + "-011"}},
		"short span id":               {parents: []string{"00-" + traceID + "-" + spanID[1:] + "-011"}},
		"flags not hexadecimal":       {parents: []string{"00-" + ids + "-0g"}},
		"other delimiters":            {parents: []string{strings.ReplaceAll(valid, "-", "_")}},
		"empty":                       {parents: []string{""}},
		"duplicate":                   {parents: []string{valid, valid}},
		"two in one":                  {parents: []string{valid + "," + valid}},

		"state":                       {parents: []string{valid}, states: []string{"a=1,b@c=2"}, parent: valid, state: "a=1,b@c=2"},
		"state of several headers":    {parents: []string{valid}, states: []string{"a=1", "b=2,c=3"}, parent: valid, state: "a=1,b=2,c=3"},
		"empty members":               {parents: []string{valid}, states: []string{"a=1, ,", "", "\t,b=2 "}, parent: valid, state: "a=1,b=2"},
		"state without parent":        {states: []string{"a=1"}},
		"malformed state":             {parents: []string{valid}, states: []string{"a=1,B=2"}, parent: valid},
		"no value":                    {parents: []string{valid}, states: []string{"a"}, parent: valid},
		"duplicate key":               {parents: []string{valid}, states: []string{"a=1", "a=2"}, parent: valid},
		"33 members":                  {parents: []string{valid}, states: []string{all}, parent: valid},
		"32 members":                  {parents: []string{valid}, states: []string{most}, parent: valid, state: most},
		"oversized state":             {parents: []string{valid}, states: []string{"a=" + long, "b=" + long, "c=" + long}, parent: valid},
		"state of the longest":        {parents: []string{valid}, states: []string{longest}, parent: valid, state: longest},
		"state of one byte above":     {parents: []string{valid}, states: []string{longest + "v"}, parent: valid},
		"state with a line break":     {parents: []string{valid}, states: []string{"a=1\r\nX-Evil: 1"}, parent: valid},
		"state that is not printable": {parents: []string{valid}, states: []string{"a=\x00"}, parent: valid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := http.Header{}
			if tc.parents != nil {
				in[tracecontext.Traceparent] = tc.parents
			}
			if tc.states != nil {
				in[tracecontext.Tracestate] = tc.states
			}
			ctx := tracecontext.Extract(t.Context(), in)
			want := http.Header{}
			if tc.parent != "" {
				want.Set("traceparent", tc.parent)
			}
			if tc.state != "" {
				want.Set("tracestate", tc.state)
			}
			out := http.Header{}
			tracecontext.Inject(ctx, out)
			if diff := cmp.Diff(want, out); diff != "" {
				t.Error(diff)
			}
			sc := trace.SpanContextFromContext(ctx)
			if sc.IsValid() != (tc.parent != "") || sc.IsRemote() != sc.IsValid() {
				t.Errorf("valid %v, remote %v", sc.IsValid(), sc.IsRemote())
			}
		})
	}
}

// TestExtractKeepsSpan: whoever embeds dixie may have read the header already.
func TestExtractKeepsSpan(t *testing.T) {
	t.Parallel()
	around := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	ctx := trace.ContextWithSpanContext(t.Context(), around)
	got := trace.SpanContextFromContext(tracecontext.Extract(ctx, http.Header{tracecontext.Traceparent: {valid}}))
	if !got.Equal(around) {
		t.Errorf("got %s", tracecontext.Format(got))
	}
}

// TestRestore is T4.6: what is kept as text and read again is the span that it was, and what is no text of ours is no
// span, whatever the context has.
func TestRestore(t *testing.T) {
	t.Parallel()
	long := "a=" + strings.Repeat("v", 200) + ",b=" + strings.Repeat("v", 200) + ",c=" + strings.Repeat("v", 104)
	for name, tc := range map[string]struct {
		parent, state string
		// wantState is that which goes with parent; none says that there is no span.
		wantState string
		none      bool
	}{
		"both":                     {parent: valid, state: "a=1,b@c=2", wantState: "a=1,b@c=2"},
		"parent alone":             {parent: valid},
		"not sampled":              {parent: "00-" + ids + "-00", state: "a=1", wantState: "a=1"},
		"random":                   {parent: "00-" + ids + "-03"},
		"state of the longest":     {parent: valid, state: long, wantState: long},
		"state of one byte above":  {parent: valid, state: long + "v"},
		"malformed state":          {parent: valid, state: "a=1,B=2"},
		"state with a line break":  {parent: valid, state: "a=1\r\nX-Evil: 1"},
		"state alone":              {state: "a=1", none: true},
		"nothing":                  {none: true},
		"words":                    {parent: "words", state: "a=1", none: true},
		"zeros":                    {parent: "00-" + strings.Repeat("0", 32) + "-" + spanID + "-01", state: "a=1", none: true},
		"version to come":          {parent: "cc" + valid[2:], none: true},
		"version ff":               {parent: "ff" + valid[2:], none: true},
		"reserved flag":            {parent: "00-" + ids + "-08", none: true},
		"upper case":               {parent: strings.ToUpper(valid), none: true},
		"blanks around":            {parent: " " + valid, none: true},
		"more fields":              {parent: "cc" + valid[2:] + "-" + strings.Repeat("x", 100_000), none: true},
		"line break for the flags": {parent: valid[:53] + "\r\n", none: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			around := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
			ctx := tracecontext.Restore(trace.ContextWithSpanContext(t.Context(), around), tc.parent, tc.state)
			wantParent := tc.parent
			if tc.none {
				wantParent = ""
			}
			if parent, state := tracecontext.Texts(ctx); parent != wantParent || state != tc.wantState {
				t.Errorf("got %q, %q; want %q, %q", parent, state, wantParent, tc.wantState)
			}
			if sc := trace.SpanContextFromContext(ctx); sc.IsValid() == tc.none || sc.IsRemote() == tc.none {
				t.Errorf("valid %v, remote %v", sc.IsValid(), sc.IsRemote())
			}
		})
	}
}

// TestLongState: a list that came another way than from a header here, and is longer than we hand on, stays behind;
// its parent does not.
func TestLongState(t *testing.T) {
	t.Parallel()
	state, err := trace.ParseTraceState("a=" + strings.Repeat("v", 256) + ",b=" + strings.Repeat("v", 253))
	if err != nil {
		t.Fatal(err)
	}
	ctx := tracecontext.Extract(t.Context(), http.Header{tracecontext.Traceparent: {valid}})
	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContextFromContext(ctx).WithTraceState(state))
	out := http.Header{}
	tracecontext.Inject(ctx, out)
	if diff := cmp.Diff(http.Header{tracecontext.Traceparent: {valid}}, out); diff != "" {
		t.Error(diff)
	}
}

// TestNothingCostsNothing must not run beside others: it counts allocations.
//
//nolint:paralleltest // As above.
func TestNothingCostsNothing(t *testing.T) {
	in, out := http.Header{"Accept": {"*/*"}}, http.Header{}
	allocated := testing.AllocsPerRun(100, func() {
		tracecontext.Inject(tracecontext.Extract(t.Context(), in), out)
	})
	if allocated != 0 || len(out) != 0 {
		t.Errorf("%v allocations, headers %v", allocated, out)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(valid, "a=1", "b=2")
	f.Add("cc-"+ids+"-01-more", "", ",")
	f.Add("ff-"+ids+"-01", "a=1,a=1", "x")
	f.Fuzz(func(t *testing.T, parent, first, second string) {
		ctx := tracecontext.Extract(t.Context(), http.Header{
			tracecontext.Traceparent: {parent}, tracecontext.Tracestate: {first, second},
		})
		out := http.Header{}
		tracecontext.Inject(ctx, out)
		got := out.Get(tracecontext.Traceparent)
		if got == "" {
			if len(out) != 0 {
				t.Fatalf("a state without a parent: %q", out)
			}
			return
		}
		if got[2:53] != strings.TrimLeft(parent, " \t")[2:53] {
			t.Errorf("%q became %q", parent, got)
		}
		if state := out.Get(tracecontext.Tracestate); len(state) > tracecontext.MaxState || strings.ContainsAny(state, "\r\n\x00") {
			t.Errorf("state %q", state)
		}
		// What is handed on is taken as it is.
		again := http.Header{}
		tracecontext.Inject(tracecontext.Extract(t.Context(), out), again)
		if diff := cmp.Diff(out, again); diff != "" {
			t.Error(diff)
		}
	})
}

func BenchmarkExtract(b *testing.B) {
	h := http.Header{tracecontext.Traceparent: {valid}}
	b.ReportAllocs()
	for b.Loop() {
		tracecontext.Extract(b.Context(), h)
	}
}

// TestSetAside: the span has no state any more, and what goes on has it, behind what a sampler adds.
func TestSetAside(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	h := http.Header{tracecontext.Traceparent: {parent}, tracecontext.Tracestate: {"vendor=one,other=two"}}
	ctx := tracecontext.SetAside(tracecontext.Extract(t.Context(), h))
	sc := trace.SpanContextFromContext(ctx)
	if sc.TraceState().Len() != 0 || !sc.IsRemote() || tracecontext.SetAside(ctx) != ctx {
		t.Errorf("%v", sc)
	}
	wantTexts := func(ctx context.Context, state string) {
		t.Helper()
		gotParent, gotState := tracecontext.Texts(ctx)
		if gotParent != parent || gotState != state {
			t.Errorf("%q %q, want %q", gotParent, gotState, state)
		}
	}
	wantTexts(ctx, "vendor=one,other=two")
	added, err := trace.ParseTraceState("ot=th:8,other=three")
	if err != nil {
		t.Fatal(err)
	}
	sampled := trace.ContextWithSpanContext(ctx, sc.WithTraceState(added))
	wantTexts(sampled, "ot=th:8,other=three,vendor=one")
	wantTexts(tracecontext.SetAside(sampled), "ot=th:8,other=three,vendor=one")
	wantTexts(tracecontext.Restore(ctx, parent, ""), "")
	other := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{9}, SpanID: trace.SpanID{9}})
	if _, state := tracecontext.Texts(trace.ContextWithSpanContext(ctx, other)); state != "" {
		t.Errorf("another trace has the state %q", state)
	}
}
