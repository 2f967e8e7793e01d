package tracecontext_test

import (
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
