package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/e2e"
	"dixie/internal/otlptest"
)

// traceLimit is how long spans may take: both ends send them in batches, every five seconds unless told
// otherwise.
const traceLimit = 30 * time.Second

// TestTrace is SM-5: one chat is one trace, with the spans of dixie and, below its calls, those of Finn. In
// staging Tempo has it; a stack of our own sends it here.
func TestTrace(t *testing.T) {
	s, find := traced(t)
	caller := s.NewCaller(t)
	answer := s.Want(t, http.StatusOK, chatRequest(caller, "", word()))
	id := answer.Header.Get("X-Trace-Id")
	if len(id) != 32 {
		answer.Fatalf(t, "the trace's id is %q", id)
	}
	var problem string
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	ctx := shared.context(t)
	deadline := time.After(traceLimit)
	for {
		spans, err := find(ctx, id)
		if problem = incomplete(spans); err == nil && problem == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		case <-deadline:
			answer.Fatalf(t, "the trace %s is not whole after %s: %s (error: %v); its spans: %+v", id, traceLimit, problem, err, spans)
		}
	}
}

// incomplete says what is missing in the trace of a chat; nothing when it is whole.
func incomplete(spans []e2e.Span) string {
	const dixie, inference = "dixie-bff", "dixie.finn.inference"
	byID, names := map[string]e2e.Span{}, map[string]e2e.Span{}
	for _, span := range spans {
		byID[span.ID] = span
		if span.Service == dixie {
			names[span.Name] = span
		}
	}
	request, ok := names["dixie.request"]
	if !ok {
		return "there is no dixie.request"
	}
	for _, name := range []string{"dixie.auth", inference} {
		if span, ok := names[name]; !ok || span.ParentID != request.ID {
			return name + " is not there, or not below dixie.request"
		}
	}
	for _, span := range spans {
		if above := byID[span.ParentID]; span.Service != dixie && above.Service == dixie && above.Name == inference {
			return ""
		}
	}
	return "no span of Finn is below a " + inference
}

// traced is a service that sends its spans, and where they can be found.
func traced(t *testing.T) (*e2e.Service, func(ctx context.Context, id string) ([]e2e.Span, error)) {
	t.Helper()
	s := service(t)
	if os.Getenv("DIXIE_E2E_URL") != "" {
		tempo := os.Getenv("DIXIE_E2E_TEMPO_URL")
		if tempo == "" {
			t.Skip("DIXIE_E2E_TEMPO_URL is not set: traces are kept with the observability profile only")
		}
		return s, e2e.NewTempo(tempo).Trace
	}
	collector := otlptest.Start(t)
	ctx := shared.context(t)
	own, err := startStack(ctx, stackConfig{
		postgres: postgres.Database(t), redis: redis.Database(t), binaries: programs(t), collector: collector.Endpoint(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.end(); err != nil {
			t.Error(err)
		}
	})
	if _, _, err := own.service.WaitHealthy(ctx, "", e2e.StartLimit); err != nil {
		t.Fatal(err)
	}
	return own.service, func(_ context.Context, id string) ([]e2e.Span, error) {
		var spans []e2e.Span
		for _, span := range collector.Spans() {
			if span.TraceID == id {
				spans = append(spans, e2e.Span{
					Service: fmt.Sprint(span.Resource["service.name"]), Name: span.Name, ID: span.SpanID, ParentID: span.ParentID,
				})
			}
		}
		return spans, nil
	}
}

// TestTempo reads what Tempo answers, whose ids are in base64.
func TestTempo(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/traces/4bf92f3577b34da6a3ce929d0e0e4736":
			_, _ = fmt.Fprint(w, `{"batches":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"dixie-bff"}}]},
				"scopeSpans":[{"scope":{"name":"dixie"},"spans":[
					{"traceId":"S/kvNXezTaajzpKdDg5HNg==","spanId":"APBnqguukCE=","name":"dixie.request","kind":"SPAN_KIND_SERVER"},
					{"spanId":"APBnqguukCI=","parentSpanId":"APBnqguukCE=","name":"dixie.finn.inference"},
					{"spanId":"APBnqguukCM=","parentSpanId":"APBnqguukCE=","name":"dixie.auth"}]}]},
				{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"local-finn"}}]},
				"scopeSpans":[{"spans":[{"spanId":"APBnqguukCQ=","parentSpanId":"APBnqguukCI=","name":"finn.request"}]}]}]}`)
		case "/api/traces/broken":
			_, _ = fmt.Fprint(w, `{}`)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	tempo := e2e.NewTempo(server.URL)
	spans, err := tempo.Trace(t.Context(), "4bf92f3577b34da6a3ce929d0e0e4736")
	want := []e2e.Span{
		{Service: "dixie-bff", Name: "dixie.request", ID: "APBnqguukCE="},
		{Service: "dixie-bff", Name: "dixie.finn.inference", ID: "APBnqguukCI=", ParentID: "APBnqguukCE="},
		{Service: "dixie-bff", Name: "dixie.auth", ID: "APBnqguukCM=", ParentID: "APBnqguukCE="},
		{Service: "local-finn", Name: "finn.request", ID: "APBnqguukCQ=", ParentID: "APBnqguukCI="},
	}
	if diff := cmp.Diff(want, spans); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if problem := incomplete(spans); problem != "" {
		t.Error(problem)
	}
	for i := range spans {
		if incomplete(append(append([]e2e.Span{}, spans[:i]...), spans[i+1:]...)) == "" {
			t.Errorf("whole without %s", spans[i].Name)
		}
	}
	if spans, err := tempo.Trace(t.Context(), "unknown"); spans != nil || err != nil {
		t.Errorf("a trace that is not there: %v, %v", spans, err)
	}
	if _, err := tempo.Trace(t.Context(), "broken"); err == nil {
		t.Error("an answer without spans is no error")
	}
}
