package telemetry

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// maxAttributes is more than a span may carry.
const maxAttributes = 8

// span is what is left of a span. The embedded interface is nil, and there only because it has a private method: a
// method that the SDK adds would not hand out the original's data. A test tells when one is added.
type span struct {
	sdktrace.ReadOnlySpan

	name              string
	context, parent   trace.SpanContext
	kind              trace.SpanKind
	start, end        time.Time
	attributes        []attribute.KeyValue
	links             []sdktrace.Link
	events            []sdktrace.Event
	status            sdktrace.Status
	scope             instrumentation.Scope
	resource          *resource.Resource
	droppedAttributes int
	droppedLinks      int
	droppedEvents     int
	children          int
}

// sanitize returns what is left of a span, and appends its attributes to buffer.
func (e *Exporter) sanitize(s sdktrace.ReadOnlySpan, buffer []attribute.KeyValue) (span, []attribute.KeyValue) {
	scope, own := e.policy.Scope(s.InstrumentationScope().Name)
	name := ""
	if own {
		name = s.Name()
	}
	first := len(buffer)
	buffer = e.policy.AppendAttributes(buffer, name, s.Attributes())
	events := e.events(name, s.Events())
	return span{
		name:              e.policy.Name(name),
		context:           s.SpanContext().WithTraceState(trace.TraceState{}),
		parent:            s.Parent().WithTraceState(trace.TraceState{}),
		kind:              trace.ValidateSpanKind(s.SpanKind()),
		start:             s.StartTime(),
		end:               s.EndTime(),
		links:             links(s.Links()),
		events:            events,
		status:            e.status(name, s.Status()),
		scope:             instrumentation.Scope{Name: scope},
		resource:          e.resource(s.Resource()),
		droppedAttributes: s.DroppedAttributes() + len(s.Attributes()) - (len(buffer) - first),
		droppedLinks:      s.DroppedLinks(),
		droppedEvents:     s.DroppedEvents() + len(s.Events()) - len(events),
		children:          s.ChildSpanCount(),
	}, buffer
}

// links keeps the ids.
func links(from []sdktrace.Link) []sdktrace.Link {
	if len(from) == 0 {
		return nil
	}
	to := make([]sdktrace.Link, 0, len(from))
	for _, link := range from {
		to = append(to, sdktrace.Link{SpanContext: link.SpanContext.WithTraceState(trace.TraceState{})})
	}
	return to
}

func (e *Exporter) events(span string, from []sdktrace.Event) []sdktrace.Event {
	if len(from) == 0 {
		return nil
	}
	to := make([]sdktrace.Event, 0, len(from))
	for _, event := range from {
		if attrs, ok := e.policy.AppendEvent(nil, span, event.Name, event.Attributes); ok {
			to = append(to, sdktrace.Event{Name: event.Name, Attributes: attrs, Time: event.Time})
		}
	}
	return to
}

func (e *Exporter) status(span string, from sdktrace.Status) sdktrace.Status {
	switch from.Code {
	case codes.Error:
		return sdktrace.Status{Code: codes.Error, Description: e.policy.StatusText(span, from.Description)}
	case codes.Ok:
		return sdktrace.Status{Code: codes.Ok}
	case codes.Unset:
	}
	return sdktrace.Status{}
}

func (s *span) Name() string                                { return s.name }
func (s *span) SpanContext() trace.SpanContext              { return s.context }
func (s *span) Parent() trace.SpanContext                   { return s.parent }
func (s *span) SpanKind() trace.SpanKind                    { return s.kind }
func (s *span) StartTime() time.Time                        { return s.start }
func (s *span) EndTime() time.Time                          { return s.end }
func (s *span) Attributes() []attribute.KeyValue            { return s.attributes }
func (s *span) Links() []sdktrace.Link                      { return s.links }
func (s *span) Events() []sdktrace.Event                    { return s.events }
func (s *span) Status() sdktrace.Status                     { return s.status }
func (s *span) InstrumentationScope() instrumentation.Scope { return s.scope }
func (s *span) InstrumentationLibrary() instrumentation.Scope {
	return s.scope
}
func (s *span) Resource() *resource.Resource { return s.resource }
func (s *span) DroppedAttributes() int       { return s.droppedAttributes }
func (s *span) DroppedLinks() int            { return s.droppedLinks }
func (s *span) DroppedEvents() int           { return s.droppedEvents }
func (s *span) ChildSpanCount() int          { return s.children }
