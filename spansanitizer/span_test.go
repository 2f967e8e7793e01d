package spansanitizer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"dixie/spansanitizer"
)

// recorded is a provider, and what was recorded by it.
func recorded(t testing.TB, options ...sdktrace.TracerProviderOption) (*sdktrace.TracerProvider, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	return sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(recorder))...), recorder
}

// texts are attributes as text, by key.
func texts(attrs []attribute.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range attrs {
		m[string(kv.Key)] = kv.Value.String()
	}
	return m
}

func TestStartSpan(t *testing.T) {
	t.Parallel()
	provider, recorder := recorded(t)
	tracer := spansanitizer.NewTracer(provider, nil)
	if !tracer.Enabled() {
		t.Fatal("the tracer is not enabled")
	}
	ctx, request := spansanitizer.StartSpan(t.Context(), tracer, spansanitizer.Request,
		attribute.String("method", "GET"), attribute.String("url", "/api/chat"), attribute.String("user_agent", "secret"))
	inner, auth := spansanitizer.StartSpan(ctx, tracer, spansanitizer.Auth, attribute.String("wallet", hardhat))
	spansanitizer.AddAttributes(inner, attribute.String("tier", "builder"), attribute.String("method", "GET"), attribute.String("email", "a@b.c"))
	auth.End()
	request.SetAttributes(attribute.Int("status_code", 200), attribute.String("wallet", hardhat))
	request.End()

	spans := recorder.Ended()
	if len(spans) != 2 {
		t.Fatalf("%d spans, want 2", len(spans))
	}
	if diff := cmp.Diff(map[string]string{"wallet_hash": hardhatHash, "tier": "builder"}, texts(spans[0].Attributes())); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"method": "GET", "url": "/api/chat", "status_code": "200"}, texts(spans[1].Attributes())); diff != "" {
		t.Error(diff)
	}
	if spans[0].Parent().SpanID() != request.SpanContext().SpanID() || spans[0].SpanContext().TraceID() != request.SpanContext().TraceID() {
		t.Error("dixie.auth is no child of dixie.request")
	}
	if spans[1].SpanKind() != trace.SpanKindServer || spans[0].SpanKind() != trace.SpanKindInternal {
		t.Errorf("kinds %v and %v", spans[1].SpanKind(), spans[0].SpanKind())
	}
	if scope := spans[0].InstrumentationScope().Name; scope != "dixie-bff" {
		t.Errorf("scope %q", scope)
	}
}

func TestUnknownSpanKeepsNothing(t *testing.T) {
	t.Parallel()
	provider, recorder := recorded(t)
	_, span := spansanitizer.StartSpan(t.Context(), spansanitizer.NewTracer(provider, nil), "chat of "+hardhat,
		attribute.String("method", "GET"), attribute.String("wallet", hardhat))
	span.Fail(errors.New("plain words"))
	span.RecordError(errors.New("plain words"))
	span.AddEvent("exception", trace.WithAttributes(attribute.String("exception.message", "plain words")))
	span.SetStatus(codes.Error, "plain words")
	span.End()
	got := recorder.Ended()[0]
	if got.Name() != "dixie.unknown" || len(got.Attributes()) != 0 || len(got.Events()) != 0 {
		t.Errorf("name %q, attributes %v, events %v", got.Name(), got.Attributes(), got.Events())
	}
	if diff := cmp.Diff(sdktrace.Status{Code: codes.Error}, got.Status()); diff != "" {
		t.Error(diff)
	}
}

// badError has no text.
type badError struct{}

func (*badError) Error() string { panic("no text") } //nolint:forbidigo // This is what is tested.

func TestFail(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		give            error
		text, exception string
	}{
		"plain":   {errors.New("the circuit is open"), "the circuit is open", "*errors.errorString"},
		"wrapped": {fmt.Errorf("chat: %w", context.DeadlineExceeded), "chat: context deadline exceeded", "context.deadlineExceededError"},
		"wallet":  {fmt.Errorf("no %s here", hardhat), "no 0x[REDACTED] here", "*errors.errorString"},
		"bad":     {&badError{}, "the error has no text", "*spansanitizer_test.badError"},
		"nil":     {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider, recorder := recorded(t)
			_, span := spansanitizer.StartSpan(t.Context(), spansanitizer.NewTracer(provider, nil), spansanitizer.Inference)
			span.Fail(tt.give)
			span.End()
			got := recorder.Ended()[0]
			if tt.give == nil {
				if len(got.Events()) != 0 || got.Status().Code != codes.Unset {
					t.Errorf("nil is recorded: %v, %v", got.Events(), got.Status())
				}
				return
			}
			if diff := cmp.Diff(sdktrace.Status{Code: codes.Error, Description: tt.text}, got.Status()); diff != "" {
				t.Error(diff)
			}
			if len(got.Events()) != 1 || got.Events()[0].Name != "exception" {
				t.Fatalf("events %v", got.Events())
			}
			want := map[string]string{"exception.type": tt.exception, "exception.message": tt.text}
			if diff := cmp.Diff(want, texts(got.Events()[0].Attributes)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// nested unwraps by its own rules, and counts how often it is asked.
type nested struct {
	next  error
	asked int
}

func (*nested) Error() string { return "it is nested" }

func (e *nested) Unwrap() error { // On a nil pointer it panics.
	e.asked++
	if e.asked > 1000 {
		return nil
	}
	return e.next
}

func TestUnwrapThatPanicsOrNeverEnds(t *testing.T) {
	t.Parallel()
	var none *nested
	endless := &nested{}
	endless.next = endless
	for name, tt := range map[string]struct {
		give error
		kind string
	}{
		"nil pointer":         {none, "*spansanitizer_test.nested"},
		"wrapped nil pointer": {fmt.Errorf("chat: %w", none), "*spansanitizer_test.nested"},
		"endless":             {endless, "*spansanitizer_test.nested"},
	} {
		provider, recorder := recorded(t)
		_, span := spansanitizer.StartSpan(t.Context(), spansanitizer.NewTracer(provider, nil), spansanitizer.Auth)
		span.Fail(tt.give)
		span.RecordError(tt.give)
		span.End()
		events := recorder.Ended()[0].Events()
		if len(events) != 2 {
			t.Fatalf("%s: %d events, want 2", name, len(events))
		}
		for _, event := range events {
			if got := texts(event.Attributes)["exception.type"]; got != tt.kind {
				t.Errorf("%s: the type is %q, want %q", name, got, tt.kind)
			}
		}
	}
	if endless.asked > 100 {
		t.Errorf("an error that unwraps to itself was asked %d times", endless.asked)
	}
}

// What is given as a hash may be none, or be made without the key.
func TestSpanHashesWhatIsGivenAsHash(t *testing.T) {
	t.Parallel()
	keyed := newPolicy(t, spansanitizer.Config{HashKey: []byte("0123456789abcdef")})
	for name, policy := range map[string]*spansanitizer.Policy{"specification": nil, "keyed": keyed} {
		for _, given := range []string{"491712345678", hardhatHash, hardhat} {
			provider, recorder := recorded(t)
			tracer := spansanitizer.NewTracer(provider, policy)
			_, auth := spansanitizer.StartSpan(t.Context(), tracer, spansanitizer.Auth, attribute.String("wallet_hash", given))
			auth.End()
			_, spawn := spansanitizer.StartSpan(t.Context(), tracer, spansanitizer.FleetSpawn)
			spawn.SetAttributes(attribute.String("identity_hash", given))
			spawn.End()
			for i, key := range []string{"wallet_hash", "identity_hash"} {
				span := recorder.Ended()[i]
				if diff := cmp.Diff(map[string]string{key: policy.Hash(given)}, texts(span.Attributes())); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
				if again := policy.AppendAttributes(nil, span.Name(), span.Attributes()); texts(again)[key] != policy.Hash(given) {
					t.Errorf("%s: the exporter makes %v of it", name, again)
				}
			}
		}
	}
}

// The names of this module's spans are not to be had by another library.
func TestForeignSpanOfAKnownName(t *testing.T) {
	t.Parallel()
	provider, recorder := recorded(t)
	ctx, span := spansanitizer.StartSpan(t.Context(), spansanitizer.NewTracer(provider, nil), spansanitizer.Auth)
	_, foreign := span.TracerProvider().Tracer("lib").Start(ctx, spansanitizer.Request, trace.WithAttributes(attribute.String("method", "GET")))
	foreign.RecordError(errors.New("plain words"))
	foreign.End()
	got := recorder.Ended()[0]
	if got.Name() != "dixie.unknown" || len(got.Attributes()) != 0 || len(got.Events()) != 0 {
		t.Errorf("name %q, attributes %v, events %v", got.Name(), got.Attributes(), got.Events())
	}
}

// endingProvider has a tracer whose spans note how they are ended.
type endingProvider struct {
	noop.TracerProvider

	end *trace.SpanConfig
}

func (p endingProvider) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return endingTracer{end: p.end}
}

type endingTracer struct {
	noop.Tracer

	end *trace.SpanConfig
}

func (r endingTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	return ctx, endingSpan{end: r.end}
}

type endingSpan struct {
	noop.Span

	end *trace.SpanConfig
}

func (s endingSpan) End(options ...trace.SpanEndOption) { *s.end = trace.NewSpanEndConfig(options...) }

func TestEndHandsOnTheTimeOnly(t *testing.T) {
	t.Parallel()
	var got trace.SpanConfig
	_, span := spansanitizer.StartSpan(t.Context(), spansanitizer.NewTracer(endingProvider{end: &got}, nil), spansanitizer.Auth)
	at := time.Unix(1, 0)
	span.End(trace.WithTimestamp(at), trace.WithStackTrace(true))
	if !got.Timestamp().Equal(at) || got.StackTrace() {
		t.Errorf("ended at %v, with a stack trace: %v", got.Timestamp(), got.StackTrace())
	}
}

// without is a provider that has no tracer to give.
type without struct{ noop.TracerProvider }

func (without) Tracer(string, ...trace.TracerOption) trace.Tracer { return nil }

func TestProviderWithoutTracer(t *testing.T) {
	t.Parallel()
	var none *sdktrace.TracerProvider
	for name, provider := range map[string]trace.TracerProvider{"nil pointer": none, "nil tracer": without{}} {
		if spansanitizer.NewTracer(provider, nil).Enabled() {
			t.Errorf("%s: the tracer is enabled", name)
		}
	}
}

// Everything that the API lets one do to a span, with secrets.
func TestSpanIsSanitisedThroughTheAPI(t *testing.T) {
	t.Parallel()
	provider, recorder := recorded(t)
	ctx, _ := spansanitizer.StartSpan(t.Context(), spansanitizer.NewTracer(provider, nil), spansanitizer.Auth)
	span := trace.SpanFromContext(ctx)
	state, err := trace.ParseTraceState("k=" + hardhat)
	if err != nil {
		t.Fatal(err)
	}
	linked := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceState: state})
	span.SetName(hardhat)
	span.SetAttributes(attribute.String("wallet_hash", hardhat), attribute.String("tier", hardhat), attribute.String(hardhat, hardhat))
	span.AddEvent(hardhat, trace.WithAttributes(attribute.String(hardhat, hardhat)))
	span.AddEvent("exception", trace.WithAttributes(attribute.String("exception.message", hardhat), attribute.String("exception.stacktrace", hardhat)))
	span.RecordError(errors.New(hardhat), trace.WithStackTrace(true), trace.WithAttributes(attribute.String(hardhat, hardhat)))
	span.SetStatus(codes.Error, hardhat)
	span.AddLink(trace.Link{SpanContext: linked, Attributes: []attribute.KeyValue{attribute.String(hardhat, hardhat)}})
	_, foreign := span.TracerProvider().Tracer(hardhat, trace.WithInstrumentationVersion(hardhat)).Start(ctx, hardhat,
		trace.WithAttributes(attribute.String("method", hardhat)), trace.WithLinks(trace.Link{SpanContext: linked}))
	foreign.End(trace.WithStackTrace(true))
	_, own := span.TracerProvider().Tracer(spansanitizer.ScopeName).Start(ctx, spansanitizer.Auth, trace.WithNewRoot(),
		trace.WithAttributes(attribute.String("tier", "builder"), attribute.String("secret", hardhat)))
	own.End()
	span.End()

	if ended := len(recorder.Ended()); ended != 3 {
		t.Fatalf("%d spans, want 3", ended)
	}
	for _, got := range recorder.Ended() {
		said := []any{got.Name(), texts(got.Attributes()), got.Status(), got.InstrumentationScope()}
		for _, event := range got.Events() {
			said = append(said, event.Name, texts(event.Attributes))
		}
		for _, link := range got.Links() {
			said = append(said, link.SpanContext.TraceState().String(), texts(link.Attributes))
			if link.SpanContext.SpanID() != linked.SpanID() {
				t.Error("the link has lost its id")
			}
		}
		if strings.Contains(strings.ToLower(fmt.Sprint(said...)), strings.ToLower(hardhat[2:])) {
			t.Errorf("the address is left in %s", said)
		}
	}
	other, second, first := recorder.Ended()[0], recorder.Ended()[1], recorder.Ended()[2]
	if other.Name() != "dixie.unknown" || other.InstrumentationScope().Name != "foreign" || len(other.Links()) != 1 {
		t.Errorf("the other library's span is %q of %q", other.Name(), other.InstrumentationScope().Name)
	}
	if second.Parent().IsValid() || second.Name() != "dixie.auth" || texts(second.Attributes())["tier"] != "builder" {
		t.Errorf("the own span is %q with %v", second.Name(), second.Attributes())
	}
	if first.Name() != "dixie.auth" || len(first.Events()) != 2 || texts(first.Attributes())["tier"] != "other" {
		t.Errorf("the span is %q with %v and %d events", first.Name(), first.Attributes(), len(first.Events()))
	}
}

func TestPanicEndsTheSpan(t *testing.T) {
	t.Parallel()
	provider, recorder := recorded(t)
	func() {
		defer func() {
			if got := recover(); got != "secret of "+hardhat {
				t.Errorf("the panic that goes on is %v", got)
			}
		}()
		_, span := spansanitizer.StartSpan(t.Context(), spansanitizer.NewTracer(provider, nil), spansanitizer.Request)
		defer span.End()
		panic("secret of " + hardhat) //nolint:forbidigo // This is what is tested.
	}()
	if len(recorder.Ended()) != 1 {
		t.Fatalf("%d spans have ended", len(recorder.Ended()))
	}
	got := recorder.Ended()[0]
	if diff := cmp.Diff(sdktrace.Status{Code: codes.Error, Description: "panic"}, got.Status()); diff != "" {
		t.Error(diff)
	}
	want := map[string]string{"exception.type": "string", "exception.message": "panic"}
	if diff := cmp.Diff(want, texts(got.Events()[0].Attributes)); diff != "" {
		t.Error(diff)
	}
}

func TestDisabled(t *testing.T) {
	t.Parallel()
	for name, tracer := range map[string]spansanitizer.Tracer{
		"zero": {}, "nil": spansanitizer.NewTracer(nil, nil), "no-op": spansanitizer.NewTracer(noop.NewTracerProvider(), nil),
	} {
		if tracer.Enabled() {
			t.Errorf("%s: the tracer is enabled", name)
		}
	}
	// A host's own span is not ours to change, let alone to end.
	provider, recorder := recorded(t)
	ctx, host := provider.Tracer("host").Start(t.Context(), "host")
	got, span := spansanitizer.StartSpan(ctx, spansanitizer.Tracer{}, spansanitizer.Request)
	if got != ctx || span != nil {
		t.Error("the context has changed, or there is a span")
	}
	span.SetAttributes(attribute.String("method", "GET"))
	span.SetName("x")
	span.AddEvent("x")
	span.AddLink(trace.Link{})
	span.SetStatus(codes.Error, "x")
	span.RecordError(errors.New("x"))
	span.Fail(errors.New("x"))
	span.End()
	spansanitizer.AddAttributes(ctx, attribute.String("method", "GET"))
	if span.IsRecording() || span.SpanContext().IsValid() || span.TracerProvider() == nil {
		t.Error("the span that is none says otherwise")
	}
	if len(recorder.Ended()) != 0 {
		t.Error("the host's span has ended")
	}
	host.End()
	if attrs := recorder.Ended()[0].Attributes(); len(attrs) != 0 {
		t.Errorf("the host's span carries %v", attrs)
	}
}

func TestNotSampled(t *testing.T) {
	t.Parallel()
	provider, recorder := recorded(t, sdktrace.WithSampler(sdktrace.NeverSample()))
	_, span := spansanitizer.StartSpan(t.Context(), spansanitizer.NewTracer(provider, nil), spansanitizer.Request, attribute.String("method", "GET"))
	span.Fail(errors.New("x"))
	if span.IsRecording() || !span.SpanContext().IsValid() {
		t.Error("a span that is not sampled records, or has no ids to pass on")
	}
	span.End()
	if len(recorder.Ended()) != 0 {
		t.Error("a span that is not sampled is recorded")
	}
}
