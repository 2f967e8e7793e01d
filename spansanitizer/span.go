package spansanitizer

import (
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
)

// Span is a span that takes only what its allowlist allows. A nil Span does nothing.
type Span struct {
	embedded.Span

	span   trace.Span
	list   *allowlist
	tracer Tracer
}

var _ trace.Span = (*Span)(nil)

// SetAttributes sets what the span may carry of attrs. What is given under [WalletHash] or [IdentityHash] is hashed as
// under [Wallet] or [Identity], even if it looks like a hash. It keeps no reference to attrs.
func (s *Span) SetAttributes(attrs ...attribute.KeyValue) {
	if s == nil || s.list == nil || len(attrs) == 0 || !s.span.IsRecording() {
		return
	}
	allowed := make([]attribute.KeyValue, 0, min(len(attrs), maxAttributes))
	s.span.SetAttributes(s.tracer.policy.appendAttributes(allowed, s.list, attrs, raw)...)
}

// Fail records err and sets the span's status to an error. A nil err is no failure.
func (s *Span) Fail(err error) {
	if s == nil || err == nil || !s.span.IsRecording() {
		return
	}
	s.recordException(errorType(err), TextOf(err))
}

// recordException records texts that are sanitised already.
func (s *Span) recordException(kind, text string) {
	if s.list == nil {
		text = ""
	} else {
		s.span.AddEvent(ExceptionEvent, trace.WithAttributes(
			attribute.String(ExceptionType, kind), attribute.String(ExceptionMessage, text)))
	}
	s.span.SetStatus(codes.Error, text)
}

// RecordError records the type and the sanitised text of err, without making the span a failed one; [Span.Fail]
// does that, too. Of the options only the time counts.
func (s *Span) RecordError(err error, options ...trace.EventOption) {
	if s == nil || s.list == nil || err == nil || !s.span.IsRecording() {
		return
	}
	record := trace.WithAttributes(attribute.String(ExceptionType, errorType(err)), attribute.String(ExceptionMessage, TextOf(err)))
	s.AddEvent(ExceptionEvent, append(slices.Clip(options), record)...)
}

// AddEvent adds an event if it is the record of an error; others are left out.
func (s *Span) AddEvent(name string, options ...trace.EventOption) {
	if s == nil || s.list == nil || !s.span.IsRecording() {
		return
	}
	cfg := trace.NewEventConfig(options...)
	attrs, ok := s.tracer.policy.AppendEvent(nil, s.list.name, name, cfg.Attributes())
	if !ok {
		return
	}
	s.span.AddEvent(ExceptionEvent, trace.WithTimestamp(cfg.Timestamp()), trace.WithAttributes(attrs...))
}

// SetStatus sets the status; its description is sanitised.
func (s *Span) SetStatus(code codes.Code, description string) {
	if s == nil || !s.span.IsRecording() {
		return
	}
	if s.list == nil || code != codes.Error || description == "" {
		s.span.SetStatus(code, "")
		return
	}
	s.span.SetStatus(code, ErrorText(description))
}

// AddLink links the span to another by its ids alone.
func (s *Span) AddLink(link trace.Link) {
	if s == nil {
		return
	}
	s.span.AddLink(trace.Link{SpanContext: link.SpanContext.WithTraceState(trace.TraceState{})})
}

// SetName does nothing: the name of a span says what it may carry, and stays.
func (s *Span) SetName(string) {}

// End ends the span; of the options only the time counts. When it is deferred and the function panics, the span is
// marked as failed with the type of the panic's value, never its text, and the panic goes on.
func (s *Span) End(options ...trace.SpanEndOption) {
	if s == nil {
		return
	}
	if value := recover(); value != nil { //nolint:revive // End is what is deferred.
		defer panic(value) //nolint:forbidigo // It is somebody else's panic, and goes on as it came.
		if s.span.IsRecording() {
			s.recordException(typeText(fmt.Sprintf("%T", value)), "panic")
		}
	}
	if len(options) == 0 {
		s.span.End()
		return
	}
	cfg := trace.NewSpanEndConfig(options...)
	s.span.End(trace.WithTimestamp(cfg.Timestamp()))
}

// IsRecording tells whether what is added to the span is kept.
func (s *Span) IsRecording() bool { return s != nil && s.span.IsRecording() }

// SpanContext returns the span's ids; those of a nil Span are not valid.
func (s *Span) SpanContext() trace.SpanContext {
	if s == nil {
		return trace.SpanContext{}
	}
	return s.span.SpanContext()
}
