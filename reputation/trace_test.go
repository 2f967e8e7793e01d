package reputation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"dixie/reputation"
	"dixie/reputation/memory"
	"dixie/spansanitizer"
)

// update is a span as a test wants it.
type update struct {
	status     codes.Code
	attributes map[string]string
	exception  string
}

// traced is a service on a store, with the spans that it has ended.
type traced struct {
	*reputation.Service

	tracer   spansanitizer.Tracer
	recorder *tracetest.SpanRecorder
}

func newTraced(store reputation.Store) traced {
	recorder := tracetest.NewSpanRecorder()
	tracer := spansanitizer.NewTracer(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)), nil)

	return traced{reputation.NewService(store, reputation.Config{Tracer: tracer}), tracer, recorder}
}

// record records within a request and returns the span of the recording, which has to be the request's only child.
func (s traced) record(ctx context.Context, t *testing.T, e reputation.Event) (reputation.Recorded, update, error) {
	t.Helper()

	before := len(s.recorder.Ended())
	ctx, request := spansanitizer.StartSpan(ctx, s.tracer, spansanitizer.Request)
	recorded, err := s.Record(ctx, e)

	ended := s.recorder.Ended()[before:]
	if len(ended) != 1 || ended[0].Name() != "dixie.reputation.update" {
		t.Fatalf("%d spans ended, want one dixie.reputation.update", len(ended))
	}

	if ended[0].Parent().SpanID() != request.SpanContext().SpanID() {
		t.Error("the span is no child of the request")
	}

	request.End()

	got := update{status: ended[0].Status().Code, attributes: map[string]string{}}
	for _, kv := range ended[0].Attributes() {
		got.attributes[string(kv.Key)] = kv.Value.String()
	}

	for _, event := range ended[0].Events() {
		for _, kv := range event.Attributes {
			if kv.Key == spansanitizer.ExceptionMessage {
				got.exception = kv.Value.String()
			}
		}
	}

	return recorded, got, err
}

func (u update) want(t *testing.T, want update) {
	t.Helper()

	if diff := cmp.Diff(want, u, cmp.AllowUnexported(update{})); diff != "" {
		t.Errorf("span (-want +got):\n%s", diff)
	}
}

func performance(score float64) reputation.Event {
	e := signal(score)
	e.Type, e.ModelID, e.TaskType = reputation.ModelPerformance, "claude-opus-4-6", reputation.TaskGeneral
	e.Provider, e.PoolID = "anthropic", "pool"

	return e
}

// TestUpdateSpans is T2.6 and T4.4: a span says what the transaction made of the agent, and nothing else.
func TestUpdateSpans(t *testing.T) {
	t.Parallel()

	store := memory.New(0)
	s := newTraced(store)

	credential := signal(0)
	credential.Type, credential.Score = reputation.CredentialUpdate, nil
	credential.CredentialID, credential.Action = credential.ID, reputation.CredentialIssued

	_, got, err := s.record(t.Context(), t, credential)
	if err != nil {
		t.Fatal(err)
	}

	// An agent that is cold has no score: not 0, and not that of a neutral one.
	got.want(t, update{attributes: map[string]string{}})

	seen := map[string]bool{}

	for _, e := range []reputation.Event{signal(0.9), performance(0.1), signal(0.35)} {
		recorded, got, err := s.record(t.Context(), t, e)
		if err != nil {
			t.Fatal(err)
		}

		kept, err := store.Get(t.Context(), e.AgentID)
		if err != nil {
			t.Fatal(err)
		}

		want := update{attributes: map[string]string{
			"score": fmt.Sprint(*kept.BlendedScore), "ema_value": fmt.Sprint(*kept.PersonalScore),
		}}
		if e.ModelID != "" {
			want.attributes["model_id"] = e.ModelID
		}

		got.want(t, want)

		if *recorded.Score == *recorded.EMA || seen[got.attributes["score"]] {
			t.Errorf("the test cannot tell the scores %v apart", got.attributes)
		}

		seen[got.attributes["score"]] = true

		_, again, err := s.record(t.Context(), t, e)
		if err != nil {
			t.Fatal(err)
		}

		again.want(t, want) // A duplicate has found what there was.
	}

	changed := performance(0.5)
	if _, err := s.Record(t.Context(), changed); err != nil {
		t.Fatal(err)
	}

	changed.Score = new(0.6)
	_, got, err = s.record(t.Context(), t, changed)

	if !errors.Is(err, reputation.ErrEventConflict) {
		t.Errorf("other content under the same id: %v", err)
	}

	got.want(t, update{codes.Error, map[string]string{"model_id": "claude-opus-4-6"}, err.Error()})

	strange := signal(7)
	strange.ModelID = "Ode to " + strange.ID

	_, got, err = s.record(t.Context(), t, strange)
	if !errors.Is(err, reputation.ErrInvalidEvent) {
		t.Errorf("a score of 7: %v", err)
	}

	got.want(t, update{codes.Error, map[string]string{"model_id": "other"}, err.Error()})
}

// TestUpdateSpanOfFailure is T2.6: what a store fails with is told without what may be secret in it.
func TestUpdateSpanOfFailure(t *testing.T) {
	t.Parallel()

	const secret = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

	for name, c := range map[string]struct {
		fail      func() error
		exception string
	}{
		"error": {func() error { return errors.New("no room for " + secret) }, "no room for 0x[REDACTED]"},
		"panic": {func() error { panic("plain words of a client") }, "store panicked: "}, //nolint:forbidigo // Stores of others may.
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			_, got, err := newTraced(&observed{Store: memory.New(0), fail: c.fail}).record(t.Context(), t, signal(0.5))
			if !errors.Is(err, reputation.ErrStoreUnavailable) {
				t.Errorf("Record: %v", err)
			}

			if !strings.Contains(got.exception, c.exception) || strings.Contains(got.exception, "plain words") {
				t.Errorf("recorded %q, want %q in it", got.exception, c.exception)
			}

			got.exception = ""
			got.want(t, update{status: codes.Error, attributes: map[string]string{}})
		})
	}
}

// TestUpdateSpanOfCallerThatGivesUp is T2.6: the span ends with the call, while the batch goes on.
func TestUpdateSpanOfCallerThatGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), hold: make(chan struct{})}
		s := newTraced(store)
		ctx, cancel := context.WithCancel(t.Context())

		go func() {
			synctest.Wait() // The store is at it.
			cancel()
		}()

		_, got, err := s.record(ctx, t, signal(0.5))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Record: %v", err)
		}

		got.want(t, update{codes.Error, map[string]string{}, "record an event: context canceled"})
		store.hold <- struct{}{}

		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}

		if n, err := s.Count(t.Context()); n != 1 || err != nil {
			t.Errorf("%d agents, %v; want the one that was recorded", n, err)
		}

		if ended := s.recorder.Ended(); len(ended) != 2 {
			t.Errorf("%d spans ended, want the request and the recording", len(ended))
		}
	})
}

// TestLaterBatchIsInNobodysTrace: the first batch is that of the caller who began, and a later one is nobody's.
func TestLaterBatchIsInNobodysTrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), hold: make(chan struct{})}
		recorder := tracetest.NewSpanRecorder()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))

		var batches []trace.SpanContext

		service := reputation.NewService(store, reputation.Config{
			Tracer: spansanitizer.NewTracer(provider, nil),
			OnBatch: func(ctx context.Context, _ reputation.Batch) {
				batches = append(batches, trace.SpanContextFromContext(ctx))
			},
		})

		for range 2 {
			go func() { _, _ = service.Record(t.Context(), signal(0.5)) }()
			synctest.Wait() // The first one is at the store, the second in line.
		}

		close(store.hold)

		if err := service.Close(t.Context()); err != nil {
			t.Error(err)
		}

		synctest.Wait()

		if want := []trace.SpanContext{recorder.Started()[0].SpanContext(), {}}; !slices.EqualFunc(batches, want, trace.SpanContext.Equal) {
			t.Errorf("the batches are in %v, want that of the first caller and none", batches)
		}
	})
}
