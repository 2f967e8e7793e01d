package apitest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"dixie/internal/apitest"
)

// description is a small service: things to read and to make, and a stream.
const description = `
openapi: 3.1.0
info: {title: things, version: "1"}
paths:
  /things/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: string, pattern: '^[a-z]+$'}, example: a}
    get:
      operationId: getThing
      responses:
        '200':
          description: A thing.
          headers: {X-Request-Id: {$ref: '#/components/headers/X-Request-Id'}}
          content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}
        '404': {$ref: '#/components/responses/NotFound'}
        '405': {$ref: '#/components/responses/MethodNotAllowed'}
  /things/newest:
    get:
      operationId: getNewest
      responses:
        '204': {description: None yet.}
  /things:
    post:
      operationId: makeThing
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}
      responses:
        '201': {description: Made., content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}}
  /events:
    get:
      operationId: getEvents
      responses:
        '200': {description: Events., content: {text/event-stream: {schema: {type: string}}}}
components:
  headers:
    X-Request-Id: {required: true, schema: {type: string, pattern: '^r-[0-9]+$'}}
    Allow: {required: true, schema: {type: string}}
  responses:
    NotFound: {description: None., content: {application/json: {schema: {$ref: '#/components/schemas/Error'}}}}
    MethodNotAllowed:
      description: No such method.
      headers: {Allow: {$ref: '#/components/headers/Allow'}}
      content: {application/json: {schema: {$ref: '#/components/schemas/Error'}}}
  schemas:
    Fields:
      type: object
      required: [error, request_id]
      properties: {error: {type: string}, request_id: {type: string}, retry_after: {type: integer}}
    Error: {allOf: [{$ref: '#/components/schemas/Fields'}], unevaluatedProperties: false}
    Thing:
      type: object
      required: [name]
      properties: {name: {type: string, minLength: 1}, at: {type: string, format: date-time}}
      additionalProperties: false
`

func load(t *testing.T) *apitest.Spec {
	t.Helper()
	spec, err := apitest.Load([]byte(description))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]string{
		"what is not YAML":         {"openapi:", "openapi: ]"},
		"a reference to nothing":   {"'#/components/schemas/Thing'", "'#/components/schemas/Gone'"},
		"no operationId":           {"operationId: getThing", "summary: getThing"},
		"a status that is a range": {"'404':", "4XX:"},
		"no error schema":          {"    Error:", "    Err:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := strings.Replace(description, change[0], change[1], 1)
			if broken == description {
				t.Fatal("the change does not apply")
			}
			if _, err := apitest.Load([]byte(broken)); err == nil {
				t.Error("loaded")
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const (
		refusal = `{"error":"nope","request_id":"r-1"}`
		ok      = ""
	)
	preflight := func(r *http.Request) { r.Header.Set("Access-Control-Request-Method", "POST") }
	for name, c := range map[string]struct {
		method, path string
		change       func(*http.Request)
		status       int
		header       string // lines
		body         string
		want         string // part of the error; empty means none
	}{
		"as described":         {path: "/things/a", status: 200, body: `{"name":"a","at":"2026-02-26T12:00:00.000Z"}`, want: ok},
		"undeclared field":     {path: "/things/a", status: 200, body: `{"name":"a","secret":1}`, want: "secret"},
		"missing field":        {path: "/things/a", status: 200, body: `{}`, want: "name"},
		"malformed field":      {path: "/things/a", status: 200, body: `{"name":"a","at":"yesterday"}`, want: "date-time"},
		"undeclared status":    {path: "/things/a", status: 418, body: refusal, want: "status is not described"},
		"redirect":             {path: "/things/a", status: 301, header: "Location: /b", want: "status is not described"},
		"other content type":   {path: "/things/a", status: 200, header: "Content-Type: text/plain", body: `{"name":"a"}`, want: "content type"},
		"two values":           {path: "/things/a", status: 200, body: `{"name":"a"} {}`, want: "not one JSON value"},
		"no body":              {path: "/things/a", status: 200, want: "not one JSON value"},
		"malformed header":     {path: "/things/a", status: 200, header: "X-Request-Id: 7", body: `{"name":"a"}`, want: "X-Request-Id"},
		"missing header":       {path: "/things/a", status: 200, header: "X-Request-Id:", body: `{"name":"a"}`, want: "X-Request-Id"},
		"HEAD":                 {method: "HEAD", path: "/things/a", status: 200, want: ok},
		"HEAD, missing header": {method: "HEAD", path: "/things/a", status: 200, header: "X-Request-Id:", want: "X-Request-Id"},
		"body where none is":   {path: "/things/newest", status: 204, body: `{}`, want: "none is described"},
		"fixed segment first":  {path: "/things/newest", status: 204, want: ok},
		"error":                {path: "/things/a", status: 404, body: refusal, want: ok},
		"error with more":      {path: "/things/a", status: 404, body: `{"error":"nope","request_id":"r-1","cause":"x"}`, want: "cause"},
		"error of another":     {path: "/things/a", status: 404, body: `{"error":"nope","request_id":"r-2"}`, want: "request_id"},
		"retry only in body":   {path: "/things/a", status: 404, body: `{"error":"n","request_id":"r-1","retry_after":1}`, want: "retry_after"},
		"retry only in header": {path: "/things/a", status: 404, header: "Retry-After: 1", body: refusal, want: "retry_after"},
		"retry in both":        {path: "/things/a", status: 404, header: "Retry-After: 1", body: `{"error":"n","request_id":"r-1","retry_after":1}`, want: ok},
		"wrong method":         {method: "PUT", path: "/things/a", status: 405, header: "Allow: GET", body: refusal, want: ok},
		"no Allow":             {method: "PUT", path: "/things/a", status: 405, body: refusal, want: "Allow"},
		"method not described": {method: "PUT", path: "/things/a", status: 200, body: `{"name":"a"}`, want: "status is not described"},
		"unknown path":         {path: "/elsewhere", status: 404, body: refusal, want: ok},
		"unknown path, text":   {path: "/elsewhere", status: 404, header: "Content-Type: text/plain", body: "not found", want: "content type"},
		"unknown path, served": {path: "/elsewhere", status: 200, body: `{}`, want: "status is not described"},
		"empty parameter":      {path: "/things/", status: 404, body: refusal, want: ok},
		"preflight":            {method: "OPTIONS", path: "/things/a", change: preflight, status: 204, want: ok},
		"preflight refused":    {method: "OPTIONS", path: "/things/a", change: preflight, status: 405, body: refusal, want: "preflight"},
		"plain OPTIONS":        {method: "OPTIONS", path: "/things/a", status: 204, want: "status is not described"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.method == "" {
				c.method = http.MethodGet
			}
			request := httptest.NewRequest(c.method, c.path, nil)
			if c.change != nil {
				c.change(request)
			}
			header := http.Header{"X-Request-Id": {"r-1"}, "Content-Type": {"application/json; charset=utf-8"}}
			if name, value, found := strings.Cut(c.header, ": "); found {
				header.Set(name, value)
			} else if name != "" {
				header.Del(strings.TrimSuffix(name, ":"))
			}
			err := load(t).Check(request, apitest.Response{Status: c.status, Header: header, Body: []byte(c.body)})
			switch {
			case c.want == ok && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != ok && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error about %q", err, c.want)
			}
		})
	}
}

// failures stands in for a test and keeps what it is told.
type failures struct {
	testing.TB

	mu   sync.Mutex
	said []string
}

func (f *failures) Helper() {}

func (f *failures) Error(args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, fmt.Sprint(args...))
}

func (f *failures) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.said, "\n")
}

// answers serves one fixed JSON text.
func answers(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", "r-1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// wrappers are the two ways to watch a handler; each returns what was sent back.
func wrappers() map[string]func(*apitest.Spec, testing.TB, http.Handler, *http.Request, ...apitest.Option) string {
	return map[string]func(*apitest.Spec, testing.TB, http.Handler, *http.Request, ...apitest.Option) string{
		"handler": func(s *apitest.Spec, t testing.TB, h http.Handler, r *http.Request, opts ...apitest.Option) string {
			rec := httptest.NewRecorder()
			s.Handler(t, h, opts...).ServeHTTP(rec, r)
			return rec.Body.String()
		},
		"transport": func(s *apitest.Spec, t testing.TB, h http.Handler, r *http.Request, opts ...apitest.Option) string {
			response, err := s.Transport(t, inProcess{h}, opts...).RoundTrip(r)
			if err != nil {
				return err.Error()
			}
			body, _ := io.ReadAll(response.Body)
			return string(body)
		},
	}
}

type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func TestWrappersCatchABrokenHandler(t *testing.T) {
	t.Parallel()
	for name, send := range wrappers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := load(t)

			good := &failures{}
			got := send(spec, good, answers(200, `{"name":"a"}`), httptest.NewRequest(http.MethodGet, "/things/a", nil))
			if got != `{"name":"a"}` || good.text() != "" {
				t.Errorf("got %q and complaints %q, want the body and none", got, good.text())
			}

			bad := &failures{}
			got = send(spec, bad, answers(200, `{"name":"a","b":1}`), httptest.NewRequest(http.MethodGet, "/things/a", nil))
			if got != `{"name":"a","b":1}` || !strings.Contains(bad.text(), "GET /things/a answered 200") {
				t.Errorf("got %q and complaints %q, want the body and one about it", got, bad.text())
			}
		})
	}
}

func TestWithRequestsFindsWhatIsAcceptedButNotDescribed(t *testing.T) {
	t.Parallel()
	made := answers(201, `{"name":"a"}`)
	for name, send := range wrappers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for body, want := range map[string]string{
				`{"name":"a"}`: "",
				`{"name":""}`:  "was accepted, but is not as described",
			} {
				complaints := &failures{}
				request := httptest.NewRequest(http.MethodPost, "/things", strings.NewReader(body))
				request.Header.Set("Content-Type", "application/json")
				send(load(t), complaints, made, request, apitest.WithRequests())
				if got := complaints.text(); !strings.Contains(got, want) || (want == "" && got != "") {
					t.Errorf("%s: complaints %q, want %q", body, got, want)
				}
			}
		})
	}
}

func TestRequestsAreNotCheckedUnasked(t *testing.T) {
	t.Parallel()
	complaints := &failures{}
	request := httptest.NewRequest(http.MethodPost, "/things", strings.NewReader(`{"name":""}`))
	load(t).Handler(complaints, answers(201, `{"name":"a"}`)).ServeHTTP(httptest.NewRecorder(), request)
	if complaints.text() != "" {
		t.Error(complaints.text())
	}
}

// A stream must arrive as it is written, through both wrappers.
func TestStreamsAreNotHeldBack(t *testing.T) {
	t.Parallel()
	spec := load(t)
	next := make(chan struct{})
	server := httptest.NewServer(spec.Handler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 2 {
			if i == 1 {
				select {
				case <-next:
				case <-r.Context().Done():
					return
				}
			}
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}
	})))
	defer server.Close()
	client := &http.Client{Transport: spec.Transport(t, server.Client().Transport)}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	first := make([]byte, len("data: 0\n\n"))
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "data: 0\n\n" {
		t.Fatalf("got %q, %v before the second event was sent", first, err)
	}
	close(next)
	rest, err := io.ReadAll(response.Body)
	if err != nil || string(rest) != "data: 1\n\n" {
		t.Errorf("got %q, %v", rest, err)
	}
}

type brokenTransport struct{ err error }

func (b brokenTransport) RoundTrip(*http.Request) (*http.Response, error) { return nil, b.err }

func TestTransportHandsErrorsOn(t *testing.T) {
	t.Parallel()
	request := httptest.NewRequest(http.MethodGet, "/things/a", nil)
	want := errors.New("no line")
	response, err := load(t).Transport(t, brokenTransport{want}).RoundTrip(request)
	if response != nil {
		_ = response.Body.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}
