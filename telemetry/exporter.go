package telemetry

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"dixie/spansanitizer"
)

// Exporter hands on spans of which only what a policy allows is left. It is safe for concurrent use if the next one is.
type Exporter struct {
	next   sdktrace.SpanExporter
	policy *spansanitizer.Policy
	// last is the resource that was sanitised last: a process has one.
	last atomic.Pointer[sanitizedResource]
}

var _ sdktrace.SpanExporter = (*Exporter)(nil)

// NewExporter wraps an exporter. Next sees names, attributes, events, status, links, scope and resource as far as the
// policy allows, no trace state, and spans of other names or other libraries without anything but ids, times, kind and
// status code. A nil policy is that of the specification.
func NewExporter(next sdktrace.SpanExporter, policy *spansanitizer.Policy) *Exporter {
	return &Exporter{next: next, policy: policy}
}

// ExportSpans sanitises the spans and hands them on.
func (e *Exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	out := make([]sdktrace.ReadOnlySpan, 0, len(spans))
	kept := make([]span, 0, len(spans))
	attributes := 0
	for _, s := range spans {
		if s != nil {
			attributes += min(len(s.Attributes()), maxAttributes)
		}
	}
	// All of them share one array; each has its own part of it.
	buffer := make([]attribute.KeyValue, 0, attributes)
	for _, s := range spans {
		if s == nil {
			continue
		}
		first := len(buffer)
		var clean span
		clean, buffer = e.sanitize(s, buffer)
		clean.attributes = buffer[first:len(buffer):len(buffer)]
		kept = append(kept, clean)
		out = append(out, &kept[len(kept)-1])
	}
	return e.next.ExportSpans(ctx, out) //nolint:wrapcheck // The next exporter's error is the answer.
}

// Shutdown shuts the next exporter down.
func (e *Exporter) Shutdown(ctx context.Context) error {
	return e.next.Shutdown(ctx) //nolint:wrapcheck // The next exporter's error is the answer.
}

// sanitizedResource is a resource and what is left of it.
type sanitizedResource struct{ from, to *resource.Resource }

func (e *Exporter) resource(from *resource.Resource) *resource.Resource {
	if from == nil {
		return resource.Empty()
	}
	if last := e.last.Load(); last != nil && last.from == from {
		return last.to
	}
	var attrs []attribute.KeyValue
	for _, kv := range from.Attributes() {
		if kv, ok := e.policy.ResourceAttribute(kv); ok {
			attrs = append(attrs, kv)
		}
	}
	to := resource.NewSchemaless(attrs...)
	e.last.Store(&sanitizedResource{from, to})
	return to
}
