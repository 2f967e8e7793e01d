package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Span is what a scenario looks at of a span. Ids are opaque: what is equal is the same span.
type Span struct {
	// Service is the resource's service.name.
	Service      string
	Name         string
	ID, ParentID string
}

// Tempo asks Grafana Tempo for traces. Make one with [NewTempo]. It is safe for concurrent use.
type Tempo struct {
	url    string
	client *http.Client
}

const longestQuery = 10 * time.Second

// NewTempo asks the Tempo whose HTTP API is at the URL, such as http://localhost:3200.
func NewTempo(url string) *Tempo {
	return &Tempo{
		url:    strings.TrimSuffix(url, "/"),
		client: &http.Client{Timeout: longestQuery, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// Trace returns the spans of a trace that have arrived; none is no error.
func (t *Tempo) Trace(ctx context.Context, id string) ([]Span, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url+"/api/traces/"+id, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask Tempo: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := t.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask Tempo: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, longestAnswer))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask Tempo: %w", err)
	case response.StatusCode == http.StatusNotFound:
		return nil, nil
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("ask Tempo: %s: %s", response.Status, shorten(body))
	}
	return readTrace(body)
}

// resourceSpans is OTLP as JSON, as far as it is read here.
type resourceSpans struct {
	Resource struct {
		Attributes []struct {
			Key   string `json:"key"`
			Value struct {
				StringValue string `json:"stringValue"`
			} `json:"value"`
		} `json:"attributes"`
	} `json:"resource"`
	ScopeSpans []struct {
		Spans []struct {
			Name         string `json:"name"`
			SpanID       string `json:"spanId"`
			ParentSpanID string `json:"parentSpanId"`
		} `json:"spans"`
	} `json:"scopeSpans"`
}

// readTrace reads what Tempo answers: it says batches where OTLP says resourceSpans.
func readTrace(body []byte) ([]Span, error) {
	var answer struct {
		Batches       []resourceSpans `json:"batches"`
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read the trace: %w", err)
	}
	batches := slices.Concat(answer.Batches, answer.ResourceSpans)
	if len(batches) == 0 {
		return nil, errors.New("read the trace: the answer has no spans: " + shorten(body))
	}
	var spans []Span
	for _, batch := range batches {
		service := ""
		for _, attribute := range batch.Resource.Attributes {
			if attribute.Key == "service.name" {
				service = attribute.Value.StringValue
			}
		}
		for _, scope := range batch.ScopeSpans {
			for _, span := range scope.Spans {
				spans = append(spans, Span{Service: service, Name: span.Name, ID: span.SpanID, ParentID: span.ParentSpanID})
			}
		}
	}
	return spans, nil
}
