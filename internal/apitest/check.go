package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// Response is what was answered.
type Response struct {
	Status int
	Header http.Header
	// Body is the whole body; nil when it is a stream, which is not looked at.
	Body []byte
}

// Check says in which ways a response differs from the description, and notes that it was seen: a
// status or a field that is not described, a missing or malformed header, another content type, a body
// outside its schema, an error body that contradicts its headers. A path that is not described must be
// refused with the schema "Error". The request's body is not read. A preflight of a browser (Fetch
// standard) is let pass.
func (s *Spec) Check(request *http.Request, response Response) error {
	if request.Method == http.MethodOptions && request.Header.Get("Access-Control-Request-Method") != "" {
		return checkPreflight(response)
	}
	found, operation, method := s.operation(request)
	err := errors.Join(
		validate(s.doc, operation, request, response),
		checkErrorBody(response),
	)
	s.note(found, operation, response.Status)
	if err != nil {
		return fmt.Errorf("%s %s answered %d, which is not as described: %w", method, request.URL.Path, response.Status, err)
	}
	return nil
}

// CheckRequest says whether a request is as described: parameters, headers and body, but not its
// credentials. It is meant for requests that the service accepts. body is the request's whole body.
func (s *Spec) CheckRequest(request *http.Request, body []byte) error {
	r, parameters := s.find(request)
	if r == nil || r.item.GetOperation(request.Method) == nil {
		return nil // Check tells about the answer.
	}
	input := &openapi3filter.RequestValidationInput{
		Request:    withBody(request, body),
		PathParams: parameters,
		Route:      s.filterRoute(r, request.Method),
		Options:    options(),
	}
	if err := openapi3filter.ValidateRequest(request.Context(), input); err != nil {
		return fmt.Errorf("%s %s was accepted, but is not as described: %w", request.Method, request.URL.Path, err)
	}
	return nil
}

// operation finds what describes the answer. For HEAD that is the description of GET.
func (s *Spec) operation(request *http.Request) (*route, *openapi3.Operation, string) {
	r, _ := s.find(request)
	if r == nil {
		return nil, s.unknownPath, request.Method
	}
	if operation := r.item.GetOperation(request.Method); operation != nil {
		return r, operation, request.Method
	}
	if request.Method == http.MethodHead && r.item.Get != nil {
		return r, r.item.Get, request.Method
	}
	return r, s.wrongMethod, request.Method
}

// note counts an answer. A refused method belongs to the path: it counts for all of its operations.
func (s *Spec) note(r *route, operation *openapi3.Operation, status int) {
	switch operation {
	case s.unknownPath:
	case s.wrongMethod:
		for _, other := range r.item.Operations() {
			s.see(other.OperationID, status)
		}
	default:
		s.see(operation.OperationID, status)
	}
}

func (s *Spec) filterRoute(r *route, method string) *routers.Route {
	return &routers.Route{
		Spec: s.doc, Path: r.template, PathItem: r.item, Method: method, Operation: r.item.GetOperation(method),
	}
}

func options() *openapi3filter.Options {
	return &openapi3filter.Options{
		IncludeResponseStatus: true,
		MultiError:            true,
		AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
	}
}

// validate does by itself what the filter passes over: redirects, HEAD, bodies where none is described,
// streams, and text after the JSON value.
func validate(doc *openapi3.T, operation *openapi3.Operation, request *http.Request, response Response) error {
	described := operation.Responses.Status(response.Status)
	if described == nil {
		return errors.New("the status is not described")
	}
	mediaType := response.Header.Get("Content-Type")
	content := described.Value.Content
	settings := options()
	switch {
	case len(content) == 0 && len(response.Body) > 0:
		return errors.New("a body where none is described")
	case len(content) > 0 && content.Get(mediaType) == nil:
		return fmt.Errorf("content type %q is not described", mediaType)
	case request.Method == http.MethodHead, response.Body == nil:
		settings.ExcludeResponseBody = true
	case len(content) > 0 && isJSON(mediaType) && !json.Valid(response.Body):
		return errors.New("the body is not one JSON value")
	}
	// The filter only needs the method, and validates nothing for HEAD.
	ctx := context.WithoutCancel(request.Context())
	asked := request.Clone(ctx)
	asked.Method = http.MethodGet
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: asked,
			Route:   &routers.Route{Spec: doc, Method: asked.Method, Operation: operation},
		},
		Status:  response.Status,
		Header:  response.Header,
		Body:    io.NopCloser(bytes.NewReader(response.Body)),
		Options: settings,
	}
	if err := openapi3filter.ValidateResponse(ctx, input); err != nil {
		return fmt.Errorf("%w\nbody: %.2000s", err, response.Body)
	}
	return nil
}

// checkErrorBody compares what is said twice, in the body of an error and in its headers.
func checkErrorBody(response Response) error {
	if response.Status < http.StatusBadRequest || len(response.Body) == 0 || !isJSON(response.Header.Get("Content-Type")) {
		return nil
	}
	var body struct {
		RequestID  *string `json:"request_id"`
		RetryAfter *int    `json:"retry_after"`
	}
	if err := json.Unmarshal(response.Body, &body); err != nil {
		return fmt.Errorf("decode error body: %w", err)
	}
	if id := response.Header.Get("X-Request-Id"); body.RequestID != nil && *body.RequestID != id {
		return fmt.Errorf("request_id is %q, the header says %q", *body.RequestID, id)
	}
	inBody := ""
	if body.RetryAfter != nil {
		inBody = strconv.Itoa(*body.RetryAfter)
	}
	if header := response.Header.Get("Retry-After"); header != inBody {
		return fmt.Errorf("retry_after is %q, the header says %q", inBody, header)
	}
	return nil
}

func checkPreflight(response Response) error {
	if response.Status != http.StatusNoContent || len(response.Body) > 0 {
		return fmt.Errorf("a preflight was answered %d with %d bytes instead of 204 with none", response.Status, len(response.Body))
	}
	return nil
}

// isStream tells answers that may go on for ever and whose body belongs to the test alone.
func isStream(status int, header http.Header) bool {
	return status == http.StatusSwitchingProtocols || mediaTypeOf(header.Get("Content-Type")) == "text/event-stream"
}

func isJSON(contentType string) bool { return mediaTypeOf(contentType) == "application/json" }

func mediaTypeOf(contentType string) string {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(mediaType))
}

func withBody(request *http.Request, body []byte) *http.Request {
	clone := request.Clone(request.Context())
	clone.Body = http.NoBody
	if len(body) > 0 {
		clone.Body = io.NopCloser(bytes.NewReader(body))
	}
	return clone
}
