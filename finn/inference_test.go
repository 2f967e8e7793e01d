package finn_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"dixie/finn"
	"dixie/finn/localfinn"
	"dixie/spansanitizer"
)

func tracer() (spansanitizer.Tracer, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	return spansanitizer.NewTracer(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)), nil), spans
}

// told is what a span says, without its latency, which it must have.
func told(t *testing.T, span sdktrace.ReadOnlySpan) map[string]string {
	t.Helper()
	got := map[string]string{"name": span.Name(), "status": span.Status().Code.String(), "text": span.Status().Description}
	for _, kv := range span.Attributes() {
		got[string(kv.Key)] = kv.Value.String()
	}
	if _, ok := got["latency_ms"]; !ok {
		t.Errorf("no latency: %v", got)
	}
	delete(got, "latency_ms")
	return got
}

// TestInferenceSpans is T2.5: each call has one span, which ends whatever happens.
func TestInferenceSpans(t *testing.T) {
	t.Parallel()
	tr, spans := tracer()
	running, err := localfinn.Start(localfinn.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = running.Close(context.WithoutCancel(t.Context())) })
	client := newClient(t, finn.Config{URL: running.URL(), Tracer: tr})
	fine := map[string]string{
		"name": "dixie.finn.inference", "status": codes.Unset.String(), "text": "", "model": "unknown", "circuit_state": "closed",
	}
	failed := func(text string) map[string]string {
		return map[string]string{
			"name": "dixie.finn.inference", "status": codes.Error.String(), "text": text, "model": "unknown", "circuit_state": "closed",
		}
	}
	var want []map[string]string
	done := func(expected map[string]string) {
		t.Helper()
		want = append(want, expected)
		if got := len(spans.Ended()); got != len(want) || len(spans.Started()) != got {
			t.Fatalf("%d spans started, %d ended, want %d", len(spans.Started()), got, len(want))
		}
		if diff := cmp.Diff(expected, told(t, spans.Ended()[len(want)-1])); diff != "" {
			t.Error(diff)
		}
	}
	session, err := client.CreateSession(t.Context(), finn.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done(fine)
	_, _ = client.Session(t.Context(), session.ID)
	done(fine)
	_, _ = client.Send(t.Context(), session.ID, "hello")
	done(fine)
	_, _ = client.Stream(t.Context(), session.ID, "hello", nil)
	done(fine)
	_, _ = client.Session(t.Context(), "nobody-knows-it")
	done(fine) // An answer, and no failure of Finn's.
	_, _ = client.Staked(t.Context(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
	done(fine)
	_, _ = client.Send(t.Context(), session.ID, "[[fail]]")
	done(failed("finn: turn failed: PROMPT_FAILED (HTTP 500)"))
	_, _ = client.Stream(t.Context(), session.ID, "hello", func(finn.Event) error {
		return errors.New(`for 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266, who said "hello"`)
	})
	done(failed(`finn: event function: for 0x[REDACTED], who said "[REDACTED]"`))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		_, _ = client.Stream(t.Context(), session.ID, "hello", func(finn.Event) error {
			panic("hello") //nolint:forbidigo // It is what is tried.
		})
	}()
	done(failed("panic"))

	// No call, no span; and a probe is no inference.
	_, _ = client.Send(t.Context(), "a/b", "hello")
	_, _ = client.Send(t.Context(), session.ID, " ")
	_, _ = client.Stream(t.Context(), "a/b", "hello", nil)
	_, _ = client.Staked(t.Context(), "nobody")
	client.Health(t.Context())
	if got := len(spans.Started()); got != len(want) {
		t.Errorf("%d spans, want %d", got, len(want))
	}
}

// TestNoTraceNoHeaders: there is nothing to say, and no zeros are said.
func TestNoTraceNoHeaders(t *testing.T) {
	t.Parallel()
	client := newClient(t, finn.Config{URL: "http://finn.test", HTTPClient: &http.Client{
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Header["Traceparent"] != nil || r.Header["Tracestate"] != nil {
				t.Errorf("headers %v", r.Header)
			}
			return answer(r, http.StatusOK, `{"response":"hello"}`)
		}),
	}})
	if _, err := client.Send(t.Context(), sessionID, "hi"); err != nil {
		t.Error(err)
	}
}
