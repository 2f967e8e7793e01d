package telemetry_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"dixie/internal/otlptest"
	"dixie/spansanitizer"
	"dixie/telemetry"
)

// secrets are what must not leave: the first ones are recognised by their shape, the last is plain words, which only
// a closed list keeps in.
func secrets() []string {
	return []string{
		hardhat, strings.ToLower(hardhat), hardhat[2:],
		"0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
		"dxk_T0pSecretApiKey", "wst_T0pSecretTicket", "alice@example.org",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
		plainWords,
	}
}

const plainWords = "correct horse battery staple"

// kinds are a text as every kind of value that can hold one.
func kinds(s string) []attribute.Value {
	return []attribute.Value{
		attribute.StringValue(s), attribute.StringSliceValue([]string{s, "x"}), attribute.ByteSliceValue([]byte(s)),
		attribute.SliceValue(attribute.StringValue(s)),
		attribute.MapValue(attribute.String("k", s), attribute.String(s, "v")),
	}
}

// spill feeds a secret into every field of spans, with the SDK alone.
func spill(ctx context.Context, provider trace.TracerProvider, secret string) {
	state, err := trace.ParseTraceState("vendor=" + strings.NewReplacer("@", "_", " ", "_").Replace(secret))
	if err != nil {
		state = trace.TraceState{}
	}
	elsewhere := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
	})
	ctx = trace.ContextWithRemoteSpanContext(ctx, elsewhere)
	// Texts about errors hold plain words by their nature, if in quotation marks or not.
	text := secret
	if secret == plainWords {
		text = fmt.Sprintf("%q", secret)
	}
	names := append(spansanitizer.Names(), secret, spansanitizer.UnknownName)
	for _, scope := range []string{spansanitizer.ScopeName, secret} {
		tracer := provider.Tracer(scope, trace.WithInstrumentationVersion(secret), trace.WithSchemaURL(secret),
			trace.WithInstrumentationAttributes(attribute.String("scope", secret)))
		for _, name := range names {
			keys := append(spansanitizer.Allowlist(name), spansanitizer.Wallet, spansanitizer.Identity, spansanitizer.OperatorID, "prompt", secret)
			for i := range kinds("") {
				_, span := tracer.Start(ctx, name, trace.WithAttributes(attribute.String("at start", secret)))
				for _, key := range keys {
					span.SetAttributes(attribute.KeyValue{Key: attribute.Key(key), Value: kinds(secret)[i]})
				}
				span.AddEvent(secret, trace.WithAttributes(attribute.String("key", secret)))
				span.AddEvent("exception", trace.WithAttributes(
					attribute.KeyValue{Key: "exception.type", Value: kinds(secret)[i]},
					attribute.KeyValue{Key: "exception.message", Value: kinds(text)[i]},
					attribute.String("exception.stacktrace", secret), attribute.String(secret, "x")))
				span.AddLink(trace.Link{SpanContext: elsewhere, Attributes: []attribute.KeyValue{attribute.String("key", secret)}})
				span.SetStatus(codes.Error, text)
				span.End()
			}
		}
	}
}

// spilled is every byte that arrived after spill, through the exporter that wrap makes.
func spilled(t *testing.T, wrap func(sdktrace.SpanExporter) sdktrace.SpanExporter) ([]byte, []otlptest.Span) {
	t.Helper()
	collector := otlptest.Start(t)
	otlp, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpointURL(collector.Endpoint()))
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	next := wrap(otlp)
	for _, secret := range secrets() {
		about := []attribute.KeyValue{attribute.String("host.name", secret), attribute.String(secret, "x")}
		if secret != plainWords {
			about = append(about, attribute.String("service.name", secret), attribute.String("service.instance.id", secret))
		}
		provider := sdktrace.NewTracerProvider(
			sdktrace.WithBatcher(next, sdktrace.WithBlocking()), sdktrace.WithResource(resource.NewWithAttributes(secret, about...)))
		spill(t.Context(), provider, secret)
		if err := provider.ForceFlush(t.Context()); err != nil {
			t.Fatalf("ForceFlush: %v", err)
		}
		// Not the provider's Shutdown: it would close the connection, which the next secret needs.
		t.Cleanup(func() { _ = provider.Shutdown(context.Background()) }) //nolint:usetesting // The test's context has ended.
	}
	return collector.Bytes(), collector.Spans()
}

func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	t.Run("sanitised", func(t *testing.T) {
		t.Parallel()
		data, spans := spilled(t, func(next sdktrace.SpanExporter) sdktrace.SpanExporter { return telemetry.NewExporter(next, nil) })
		if found := otlptest.Leaks(data, secrets()...); len(found) != 0 {
			t.Errorf("found %q", found)
		}
		// Of two scopes, the names that there are and two others, and five kinds of value.
		if want := len(secrets()) * 2 * (len(spansanitizer.Names()) + 2) * 5; len(spans) != want {
			t.Fatalf("%d spans have arrived, want %d", len(spans), want)
		}
		for _, span := range spans {
			known := slices.Contains(spansanitizer.Names(), span.Name)
			if (!known && span.Name != spansanitizer.UnknownName) || (span.Scope != "dixie-bff" && span.Scope != "foreign") {
				t.Fatalf("a span %q of %q", span.Name, span.Scope)
			}
			if known != (span.Scope == "dixie-bff" && len(span.Events) == 1) || !known && (len(span.Attributes) != 0 || span.StatusText != "") {
				t.Fatalf("a span %q of %q with %v, %v, %q", span.Name, span.Scope, span.Attributes, span.Events, span.StatusText)
			}
			for key := range span.Attributes {
				if !slices.Contains(spansanitizer.Allowlist(span.Name), key) {
					t.Fatalf("a span %q with %q", span.Name, key)
				}
			}
			if span.Status != "ERROR" || span.TraceState != "" || len(span.Links) != 1 || span.Links[0].TraceState != "" ||
				len(span.Links[0].Attributes) != 0 || span.ParentID != "0200000000000000" {
				t.Fatalf("status %q, links %+v, parent %q", span.Status, span.Links, span.ParentID)
			}
		}
	})
	// Without this the test above could not fail.
	t.Run("not sanitised", func(t *testing.T) {
		t.Parallel()
		data, _ := spilled(t, func(next sdktrace.SpanExporter) sdktrace.SpanExporter { return next })
		if diff := cmp.Diff(secrets(), otlptest.Leaks(data, secrets()...)); diff != "" {
			t.Error(diff)
		}
	})
}

// The SDK may add a method in any release: whoever sees this fail says in span.go what it may return.
func TestEveryMethodOfASpanIsHandled(t *testing.T) {
	t.Parallel()
	span := reflect.ValueOf(telemetry.EmptySpan())
	methods := reflect.TypeFor[sdktrace.ReadOnlySpan]()
	checked := 0
	for method := range methods.Methods() {
		if !method.IsExported() {
			continue
		}
		checked++
		func() {
			defer func() {
				if recover() != nil {
					t.Errorf("%s is not handled", method.Name)
				}
			}()
			span.MethodByName(method.Name).Call(nil)
		}()
	}
	if checked < 17 {
		t.Errorf("%d methods were checked", checked)
	}
}

// collected keeps what was exported last.
type collected struct{ spans []sdktrace.ReadOnlySpan }

func (c *collected) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	c.spans = spans
	return nil
}

func (*collected) Shutdown(context.Context) error { return nil }

// full is a span with everything that may stay.
func full() tracetest.SpanStub {
	ids := func(n byte) trace.SpanContext {
		return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{n}, SpanID: trace.SpanID{n}, TraceFlags: trace.FlagsSampled})
	}
	at := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	scope := instrumentation.Scope{Name: spansanitizer.ScopeName}
	return tracetest.SpanStub{
		Name: spansanitizer.Inference, SpanContext: ids(1), Parent: ids(2), SpanKind: trace.SpanKindClient,
		StartTime: at, EndTime: at.Add(time.Second),
		Attributes: []attribute.KeyValue{attribute.String("model", "gpt-4o"), attribute.Int("tokens", 7)},
		Events: []sdktrace.Event{{Name: "exception", Time: at, Attributes: []attribute.KeyValue{
			attribute.String("exception.type", "*net.OpError"), attribute.String("exception.message", "refused"),
		}}},
		Links: []sdktrace.Link{{SpanContext: ids(3)}}, Status: sdktrace.Status{Code: codes.Error, Description: "refused"},
		DroppedAttributes: 1, DroppedEvents: 2, DroppedLinks: 3, ChildSpanCount: 4,
		Resource:             resource.NewSchemaless(attribute.String("service.name", "dixie-bff")),
		InstrumentationScope: scope,
		// The deprecated name of the same.
		InstrumentationLibrary: scope, //nolint:staticcheck // It must be sanitised as long as it is there.
	}
}

func TestWhatMayStayStays(t *testing.T) {
	t.Parallel()
	var got collected
	want := full()
	if err := telemetry.NewExporter(&got, nil).ExportSpans(t.Context(), []sdktrace.ReadOnlySpan{nil, want.Snapshot()}); err != nil {
		t.Fatalf("ExportSpans: %v", err)
	}
	if len(got.spans) != 1 {
		t.Fatalf("%d spans", len(got.spans))
	}
	if clean := tracetest.SpanStubFromReadOnlySpan(got.spans[0]); !reflect.DeepEqual(clean, want) {
		t.Errorf("\n got %+v\nwant %+v", clean, want)
	}
}

func TestWhatIsLeftOutIsCounted(t *testing.T) {
	t.Parallel()
	var got collected
	stub := full()
	stub.Attributes = append(stub.Attributes, attribute.String("prompt", "secret"), attribute.String("method", "GET"))
	stub.Events = append(stub.Events, sdktrace.Event{Name: "prompt"})
	stub.Status = sdktrace.Status{Code: codes.Ok, Description: "secret"}
	stub.SpanKind, stub.Resource = 99, nil
	if err := telemetry.NewExporter(&got, nil).ExportSpans(t.Context(), []sdktrace.ReadOnlySpan{stub.Snapshot()}); err != nil {
		t.Fatalf("ExportSpans: %v", err)
	}
	span := got.spans[0]
	if span.DroppedAttributes() != 3 || span.DroppedEvents() != 3 || len(span.Attributes()) != 2 || len(span.Events()) != 1 {
		t.Errorf("attributes %v (%d dropped), events %v (%d dropped)",
			span.Attributes(), span.DroppedAttributes(), span.Events(), span.DroppedEvents())
	}
	if span.Status() != (sdktrace.Status{Code: codes.Ok}) || span.SpanKind() != trace.SpanKindInternal || span.Resource() == nil {
		t.Errorf("status %v, kind %v, resource %v", span.Status(), span.SpanKind(), span.Resource())
	}
}

// A pipeline of one's own may serve several providers.
func TestEachResourceComesOutAsItself(t *testing.T) {
	t.Parallel()
	var got collected
	first, second := full(), full()
	second.Resource = resource.NewSchemaless(attribute.String("service.name", "another"), attribute.String("host.name", "alice"))
	exporter := telemetry.NewExporter(&got, nil)
	for range 2 {
		if err := exporter.ExportSpans(t.Context(), []sdktrace.ReadOnlySpan{first.Snapshot(), second.Snapshot(), first.Snapshot()}); err != nil {
			t.Fatalf("ExportSpans: %v", err)
		}
		var names []string
		for _, span := range got.spans {
			names = append(names, span.Resource().String())
		}
		if diff := cmp.Diff([]string{"service.name=dixie-bff", "service.name=another", "service.name=dixie-bff"}, names); diff != "" {
			t.Error(diff)
		}
	}
}

// OTLP leaves the state of links and parents out anyhow; other exporters do not.
func TestTraceStateIsLeftOut(t *testing.T) {
	t.Parallel()
	state, err := trace.ParseTraceState("vendor=" + hardhat)
	if err != nil {
		t.Fatal(err)
	}
	stub := full()
	stub.SpanContext = stub.SpanContext.WithTraceState(state)
	stub.Parent = stub.Parent.WithTraceState(state)
	stub.Links[0].SpanContext = stub.Links[0].SpanContext.WithTraceState(state)
	var got collected
	if err := telemetry.NewExporter(&got, nil).ExportSpans(t.Context(), []sdktrace.ReadOnlySpan{stub.Snapshot()}); err != nil {
		t.Fatalf("ExportSpans: %v", err)
	}
	span := got.spans[0]
	for name, sc := range map[string]trace.SpanContext{"span": span.SpanContext(), "parent": span.Parent(), "link": span.Links()[0].SpanContext} {
		if sc.TraceState().Len() != 0 || !sc.IsValid() {
			t.Errorf("%s: %v", name, sc)
		}
	}
}

func FuzzExporter(f *testing.F) {
	for _, name := range append(spansanitizer.Names(), "", "dixie.unknown") {
		for _, key := range append(spansanitizer.Allowlist(name), "wallet", "prompt") {
			f.Add(name, key, hardhat, int64(1), 0.5, uint8(1))
		}
		f.Add(name, "exception", "dxk_abcdefgh \xff", int64(-1), -1.0, uint8(3))
	}
	f.Fuzz(func(t *testing.T, name, key, text string, n int64, number float64, kind uint8) {
		value := func(s string) attribute.Value {
			all := append(kinds(s), attribute.Value{}, attribute.Int64Value(n), attribute.Float64Value(number), attribute.BoolValue(n > 0),
				attribute.Int64SliceValue([]int64{n}), attribute.Float64SliceValue([]float64{number}), attribute.BoolSliceValue([]bool{true}))
			return all[int(kind)%len(all)]
		}
		kv := attribute.KeyValue{Key: attribute.Key(key), Value: value(text)}
		scope := spansanitizer.ScopeName
		if kind >= 128 {
			scope = text
		}
		stub := tracetest.SpanStub{
			Name: name, Attributes: []attribute.KeyValue{kv, {Key: attribute.Key(text), Value: value(key)}, kv},
			Events: []sdktrace.Event{
				{Name: key, Attributes: []attribute.KeyValue{kv}},
				{Name: "exception", Attributes: []attribute.KeyValue{
					{Key: "exception.message", Value: value(text)}, {Key: "exception.type", Value: value(text)}, kv,
				}},
			},
			Links:  []sdktrace.Link{{Attributes: []attribute.KeyValue{kv}}},
			Status: sdktrace.Status{Code: codes.Code(kind), Description: text}, SpanKind: trace.SpanKind(n),
			Resource: resource.NewSchemaless(kv), InstrumentationScope: instrumentation.Scope{Name: scope, Version: text},
		}
		var got collected
		exporter := telemetry.NewExporter(&got, nil)
		for range 2 { // What came out comes out again.
			if err := exporter.ExportSpans(t.Context(), []sdktrace.ReadOnlySpan{stub.Snapshot()}); err != nil {
				t.Fatal(err)
			}
			span := got.spans[0]
			checkSpan(t, span, name)
			again := tracetest.SpanStubFromReadOnlySpan(span)
			if again.Name == name {
				again.DroppedAttributes, again.DroppedEvents = 0, 0
				stub = again
			}
		}
	})
}

// checkSpan tells whether a span carries nothing but what its name allows.
func checkSpan(t *testing.T, span sdktrace.ReadOnlySpan, name string) {
	t.Helper()
	known := slices.Contains(spansanitizer.Names(), span.Name())
	if !known && span.Name() != spansanitizer.UnknownName || known && span.Name() != name {
		t.Errorf("the name is %q", span.Name())
	}
	if !known && (len(span.Attributes()) != 0 || len(span.Events()) != 0 || span.Status().Description != "") {
		t.Errorf("an unknown span carries %v, %v, %v", span.Attributes(), span.Events(), span.Status())
	}
	seen := map[attribute.Key]bool{}
	var policy spansanitizer.Policy
	for _, kv := range span.Attributes() {
		again, ok := policy.Attribute(span.Name(), kv)
		if !ok || again != kv || seen[kv.Key] || !slices.Contains(spansanitizer.Allowlist(span.Name()), string(kv.Key)) {
			t.Errorf("%s comes out of %s", kv, span.Name())
		}
		seen[kv.Key] = true
	}
	for _, event := range span.Events() {
		if event.Name != "exception" {
			t.Errorf("the event %q comes out", event.Name)
		}
		for _, kv := range event.Attributes {
			s := kv.Value.AsString()
			if kv.Key != "exception.type" && (kv.Key != "exception.message" || s != spansanitizer.ErrorText(s)) {
				t.Errorf("the event carries %s", kv)
			}
		}
	}
	for _, link := range span.Links() {
		if len(link.Attributes) != 0 {
			t.Errorf("the link carries %v", link.Attributes)
		}
	}
	if s := span.Status(); s.Description != spansanitizer.ErrorText(s.Description) || s.Code > codes.Ok {
		t.Errorf("the status is %v", s)
	}
	if scope := span.InstrumentationScope(); scope.Version != "" || scope.Name != "dixie-bff" && scope.Name != "foreign" {
		t.Errorf("the scope is %v", scope)
	}
	for _, kv := range span.Resource().Attributes() {
		if _, ok := policy.ResourceAttribute(kv); !ok {
			t.Errorf("the resource carries %s", kv)
		}
	}
}
