package apitest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// Option changes what a wrapper checks.
type Option func(*wrapper)

// WithRequests also checks each request that was answered with 2xx: what the service accepts should be
// described as acceptable. Leave it out where a test sends, on purpose, what is only tolerated.
func WithRequests() Option { return func(w *wrapper) { w.requests = true } }

type wrapper struct {
	spec     *Spec
	t        testing.TB
	requests bool
}

func (s *Spec) wrap(t testing.TB, opts []Option) *wrapper {
	w := &wrapper{spec: s, t: t}
	for _, opt := range opts {
		opt(w)
	}
	return w
}

// check reports to the test without ending it, so that it may be called on any goroutine.
func (w *wrapper) check(request *http.Request, sent []byte, response Response) {
	if err := w.spec.Check(request, response); err != nil {
		w.t.Error(err)
	}
	if w.requests && response.Status >= http.StatusOK && response.Status < http.StatusMultipleChoices {
		if err := w.spec.CheckRequest(request, sent); err != nil {
			w.t.Error(err)
		}
	}
}

// Transport returns a RoundTripper that checks every response that next brings and fails t with what is
// wrong. Bodies are read and handed on whole, except those of event streams and upgraded connections,
// of which only status and headers are checked. A nil next panics at the first request.
func (s *Spec) Transport(t testing.TB, next http.RoundTripper, opts ...Option) http.RoundTripper {
	t.Helper()
	return &transport{wrapper: s.wrap(t, opts), next: next}
}

type transport struct {
	*wrapper

	next http.RoundTripper
}

func (c *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	var sent bytes.Buffer
	forwarded := request
	if c.requests && request.Body != nil {
		forwarded = request.Clone(request.Context())
		forwarded.Body = teeBody{io.TeeReader(request.Body, &sent), request.Body}
	}
	response, err := c.next.RoundTrip(forwarded)
	if err != nil {
		return nil, err
	}
	seen := Response{Status: response.StatusCode, Header: response.Header}
	if !isStream(response.StatusCode, response.Header) {
		seen.Body, err = io.ReadAll(response.Body)
		if closeErr := response.Body.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return nil, fmt.Errorf("read the body to check it: %w", err)
		}
		response.Body = io.NopCloser(bytes.NewReader(seen.Body))
	}
	c.check(request, sent.Bytes(), seen)
	return response, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport below.
func (c *transport) CloseIdleConnections() {
	if below, ok := c.next.(interface{ CloseIdleConnections() }); ok {
		below.CloseIdleConnections()
	}
}

// teeBody reads from one and closes the other.
type teeBody struct {
	io.Reader
	io.Closer
}

// Handler returns a handler that checks every response of next and fails t with what is wrong. Nothing
// is held back: next writes straight to the client, and http.ResponseController reaches it. What next
// reads of a request's body is what counts as the body.
func (s *Spec) Handler(t testing.TB, next http.Handler, opts ...Option) http.Handler {
	t.Helper()
	w := s.wrap(t, opts)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// The handler may change its request: it is the one that arrived that counts.
		arrived := r.Clone(r.Context())
		var sent bytes.Buffer
		if w.requests && r.Body != nil {
			r.Body = teeBody{io.TeeReader(r.Body, &sent), r.Body}
		}
		rec := &recorder{ResponseWriter: rw}
		next.ServeHTTP(rec, r)
		w.check(arrived, sent.Bytes(), rec.response())
	})
}

// recorder keeps a copy of what goes through. It belongs to the handler's goroutine.
type recorder struct {
	http.ResponseWriter

	status int
	header http.Header
	body   bytes.Buffer
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	// Informational answers come before the one that counts; an upgrade is final.
	final := status >= http.StatusOK || status == http.StatusSwitchingProtocols
	if r.status == 0 && final {
		r.status = status
		r.header = r.Header().Clone()
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !isStream(r.status, r.header) {
		r.body.Write(p)
	}
	return r.ResponseWriter.Write(p)
}

func (r *recorder) response() Response {
	if r.status == 0 { // net/http answers for a handler that wrote nothing.
		return Response{Status: http.StatusOK, Header: r.Header().Clone(), Body: []byte{}}
	}
	if isStream(r.status, r.header) {
		return Response{Status: r.status, Header: r.header}
	}
	return Response{Status: r.status, Header: r.header, Body: append([]byte{}, r.body.Bytes()...)}
}
