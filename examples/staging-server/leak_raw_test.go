package main_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"dixie/internal/otlptest"
)

// rawTracing sends requests on, and makes of each what tracing would without a sanitiser: a span that carries the request
// line, the headers and the body as they are, exported by the SDK's own exporter.
type rawTracing struct {
	collector *otlptest.Collector
	provider  *sdktrace.TracerProvider
	tracer    trace.Tracer
	transport *http.Transport

	mu    sync.Mutex
	words map[string]bool // GUARDED_BY(mu)
}

// secretWord is the shape of most secrets.
var secretWord = regexp.MustCompile(`(?i)zq[a-z]+?zq`)

func startRawTracing(t *testing.T) *rawTracing {
	t.Helper()
	w := &rawTracing{collector: otlptest.Start(t), transport: &http.Transport{}, words: map[string]bool{}}
	exporter, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpointURL(w.collector.Endpoint()))
	if err != nil {
		t.Fatal(err)
	}
	w.provider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	w.tracer = w.provider.Tracer("raw")
	t.Cleanup(w.transport.CloseIdleConnections)
	return w
}

// RoundTrip implements [http.RoundTripper].
func (w *rawTracing) RoundTrip(r *http.Request) (*http.Response, error) {
	dump, err := httputil.DumpRequestOut(r, true)
	if err != nil {
		return nil, err
	}
	w.span(r.Method, string(dump))
	return w.transport.RoundTrip(r)
}

// span exports a span that carries texts.
func (w *rawTracing) span(name string, texts ...string) {
	w.mu.Lock()
	for i, text := range texts {
		texts[i] = strings.ToValidUTF8(text, "?") // As OTLP wants it.
		for _, word := range secretWord.FindAllString(text, -1) {
			w.words[word] = true
		}
	}
	w.mu.Unlock()
	// Past the sanitiser: what it would keep back must be found here.
	_, span := w.tracer.Start(context.Background(), name, trace.WithAttributes(attribute.StringSlice("raw", texts)))
	span.End()
}

// secrets returns the secrets that were sent and are known by their shape.
func (w *rawTracing) secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.words))
}

func (w *rawTracing) stop(t *testing.T) {
	t.Helper()
	if err := w.provider.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// quotingProxy stands before Finn. While it quotes, it answers with errors that repeat everything it was told.
type quotingProxy struct {
	url     string
	quoting atomic.Bool
	// quoted counts the answers that quote.
	quoted atomic.Int64
}

func startQuotingProxy(t *testing.T, finn string) *quotingProxy {
	t.Helper()
	target, err := url.Parse(finn)
	if err != nil {
		t.Fatal(err)
	}
	q := &quotingProxy{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // The connection breaks, as Finn's does.
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !q.quoting.Load() {
			proxy.ServeHTTP(w, r)
			return
		}
		quote(w, r, int(q.quoted.Add(1)))
	}))
	t.Cleanup(server.Close)
	q.url = server.URL
	return q
}

func quotingStatuses() []int {
	return []int{200, 400, 401, 402, 404, 409, 422, 429, 200, 500, 502, 504}
}

// quote answers the nth question.
func quote(w http.ResponseWriter, r *http.Request, n int) {
	body, _ := io.ReadAll(r.Body)
	var told strings.Builder
	_ = r.Header.Write(&told)
	told.WriteString(r.URL.String() + " ")
	told.Write(body)
	status := quotingStatuses()[n%len(quotingStatuses())]
	switch n % 5 {
	case 0: // No JSON.
		w.WriteHeader(status)
		_, _ = io.WriteString(w, told.String())
	case 1: // Truncated.
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":"`+strings.ToValidUTF8(string(body), "?"))
	default:
		answer, _ := json.Marshal(map[string]any{
			"error": told.String(), "code": told.String(), "message": told.String(), "sessionId": told.String(),
			"status": told.String(), "model": told.String(),
		})
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(answer)
	}
}
