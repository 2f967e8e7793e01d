// Package tracecontext reads and writes the headers of W3C Trace Context (Recommendation of 23 November 2021, with
// the flags of Level 2). OpenTelemetry's propagator refuses reserved flags, which are to be ignored, accepts a dash
// behind the last field, and sees one header of several only. Everything in it is safe for concurrent use.
package tracecontext

import (
	"context"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// The headers, in canonical form.
const (
	Traceparent = "Traceparent"
	Tracestate  = "Tracestate"
)

// MaxState is the longest list of vendors' entries that is handed on, in bytes: as much as everybody must be able to
// hand on. Of a longer one nothing is.
const MaxState = 512

// The fields of a traceparent, which are of fixed length in every version: 00-<trace id>-<span id>-<flags>.
const (
	parentLength = 55
	traceAt      = 3
	spanAt       = 36
	flagsAt      = 53
	known        = trace.FlagsSampled | trace.FlagsRandom
)

// Extract returns ctx with the span of a client that the headers name, or ctx as it is when there is none that is
// valid. A context that has a valid span keeps it: an instrumented server around this one has read the headers
// already. Without a traceparent it allocates nothing.
func Extract(ctx context.Context, h http.Header) context.Context {
	if h[Traceparent] == nil || trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	sc, ok := Parse(h)
	if !ok {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, sc)
}

// Parse reads a client's span from its headers. There is none when there is not exactly one traceparent, or when it
// is malformed. A tracestate that is malformed or too long is left out; that takes nothing from the traceparent.
func Parse(h http.Header) (trace.SpanContext, bool) {
	parents := h[Traceparent]
	if len(parents) != 1 {
		return trace.SpanContext{}, false
	}
	cfg, ok := parseParent(strings.Trim(parents[0], " \t"))
	if !ok {
		return trace.SpanContext{}, false
	}
	cfg.TraceState = parseState(h[Tracestate])
	cfg.Remote = true
	return trace.NewSpanContext(cfg), true
}

// parseParent reads a traceparent. Of a version to come the known fields count, and what follows behind a dash does
// not; version ff will never be.
func parseParent(s string) (cfg trace.SpanContextConfig, ok bool) {
	if len(s) < parentLength || s[traceAt-1] != '-' || s[spanAt-1] != '-' || s[flagsAt-1] != '-' {
		return cfg, false
	}
	var version, flags [1]byte
	if !decode(version[:], s[:traceAt-1]) || !decode(cfg.TraceID[:], s[traceAt:spanAt-1]) ||
		!decode(cfg.SpanID[:], s[spanAt:flagsAt-1]) || !decode(flags[:], s[flagsAt:parentLength]) {
		return cfg, false
	}
	switch rest := s[parentLength:]; {
	case version[0] == 0xff:
		return cfg, false
	case version[0] == 0 && rest != "":
		return cfg, false
	case rest != "" && rest[0] != '-':
		return cfg, false
	}
	cfg.TraceFlags = trace.TraceFlags(flags[0]) & known
	return cfg, cfg.TraceID.IsValid() && cfg.SpanID.IsValid()
}

// decode reads hexadecimal digits, in lower case only.
func decode(dst []byte, s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// parseState reads the entries of all headers as one list. Empty ones are allowed and left out.
func parseState(headers []string) trace.TraceState {
	size := 0
	for _, header := range headers {
		size += len(header) + 1
	}
	if size == 0 || size-1 > MaxState {
		return trace.TraceState{}
	}
	members := make([]string, 0, 1)
	for _, header := range headers {
		for member := range strings.SplitSeq(header, ",") {
			if member = strings.Trim(member, " \t"); member != "" {
				members = append(members, member)
			}
		}
	}
	// An error comes with an empty state.
	state, _ := trace.ParseTraceState(strings.Join(members, ","))
	return state
}

// Format returns the traceparent of a span, with its flags as they are.
func Format(sc trace.SpanContext) string {
	var text [parentLength]byte
	traceID, spanID := sc.TraceID(), sc.SpanID()
	b := append(text[:0], "00-"...)
	b = hex.AppendEncode(b, traceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, spanID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, []byte{byte(sc.TraceFlags() & known)})
	return string(b)
}

// Inject sets the headers of the span in ctx. Without a valid one it sets none, and allocates nothing.
func Inject(ctx context.Context, h http.Header) {
	parent, state := Texts(ctx)
	if parent == "" {
		return
	}
	h[Traceparent] = []string{parent}
	if state != "" {
		h[Tracestate] = []string{state}
	}
}

// Texts are the values of the headers of the span in ctx. Both are empty without a valid one, and state is when there
// is none, or one that is longer than [MaxState].
func Texts(ctx context.Context) (parent, state string) {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return "", ""
	}
	if state = stateOf(ctx, sc).String(); len(state) > MaxState {
		state = ""
	}
	return Format(sc), state
}

type setAsideKey struct{}

// setAside is a state and the trace that it belongs to.
type setAside struct {
	trace trace.TraceID
	state trace.TraceState
}

// SetAside returns ctx with its span, but without that span's trace state, which [Texts] and [Inject] still hand on: a
// span that is started in it does not carry, and so not export, what a client wrote. Without a state it is ctx as it is.
func SetAside(ctx context.Context) context.Context {
	sc := trace.SpanContextFromContext(ctx)
	if sc.TraceState().Len() == 0 {
		return ctx
	}
	ctx = context.WithValue(ctx, setAsideKey{}, setAside{sc.TraceID(), stateOf(ctx, sc)})
	return trace.ContextWithSpanContext(ctx, sc.WithTraceState(trace.TraceState{}))
}

// stateOf is the state that goes with the span in ctx: what was set aside, after what a sampler has added to it since.
func stateOf(ctx context.Context, sc trace.SpanContext) trace.TraceState {
	aside, ok := ctx.Value(setAsideKey{}).(setAside)
	if !ok || aside.trace != sc.TraceID() {
		return sc.TraceState()
	}
	state := aside.state
	var added [][2]string
	sc.TraceState().Walk(func(key, value string) bool {
		added = append(added, [2]string{key, value})
		return true
	})
	for _, member := range slices.Backward(added) {
		if longer, err := state.Insert(member[0], member[1]); err == nil {
			state = longer
		}
	}
	return state
}

// Restore returns ctx with the span that texts of [Texts] stand for as a remote one, and with no other: a parent that
// Texts does not write is none. A state that is malformed or too long is left out.
func Restore(ctx context.Context, parent, state string) context.Context {
	restored := trace.SpanContext{}
	if cfg, ok := parseParent(parent); ok {
		if sc := trace.NewSpanContext(cfg); Format(sc) == parent {
			restored = sc.WithRemote(true).WithTraceState(parseState([]string{state}))
		}
	}
	return trace.ContextWithSpanContext(context.WithValue(ctx, setAsideKey{}, nil), restored)
}
