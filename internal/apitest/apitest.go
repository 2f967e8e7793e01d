// Package apitest holds tests to the OpenAPI description: a [Spec] wraps an http.RoundTripper or an
// http.Handler, checks every response that passes against the description, and knows afterwards which
// of the described operations and statuses nobody has seen. It is for tests only. A Spec is safe for
// concurrent use, so that one can serve all parallel tests of a package.
package apitest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
)

// errorSchema and methodResponse are the components that answers outside the described operations
// must follow.
const (
	errorSchema    = "Error"
	methodResponse = "MethodNotAllowed"
)

// Spec is a loaded description together with what was seen of it. Make one with [Load].
type Spec struct {
	doc    *openapi3.T
	routes []route
	// unknownPath describes what a path that does not exist may answer.
	unknownPath *openapi3.Operation
	// wrongMethod describes what a method may answer that its path does not have.
	wrongMethod *openapi3.Operation

	mu   sync.Mutex
	seen map[Key]int // GUARDED_BY(mu)
}

// Key names one described answer.
type Key struct {
	// Operation is the operationId.
	Operation string
	// Status is the HTTP status.
	Status int
}

func (k Key) String() string { return fmt.Sprintf("%s %d", k.Operation, k.Status) }

// Load reads a description in YAML or JSON and validates it, its examples included. Beyond what OpenAPI
// demands, every operation needs an operationId, every described status must be a number, and the
// schema "Error" and the response "MethodNotAllowed" must be among the components.
func Load(description []byte) (*Spec, error) {
	doc, err := openapi3.NewLoader().LoadFromData(description)
	if err != nil {
		return nil, fmt.Errorf("apitest: load: %w", err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		return nil, fmt.Errorf("apitest: validate: %w", err)
	}
	if doc.Components == nil {
		return nil, errors.New("apitest: no components")
	}
	s := &Spec{doc: doc, seen: make(map[Key]int)}
	if err := s.describeRefusals(); err != nil {
		return nil, err
	}
	for path, item := range doc.Paths.Map() {
		s.routes = append(s.routes, newRoute(path, item))
		for method, operation := range item.Operations() {
			if operation.OperationID == "" {
				return nil, fmt.Errorf("apitest: %s %s has no operationId", method, path)
			}
			for status := range operation.Responses.Map() {
				if _, err := statusOf(status); err != nil {
					return nil, fmt.Errorf("apitest: %s: %w", operation.OperationID, err)
				}
			}
		}
	}
	slices.SortFunc(s.routes, route.compare)
	return s, nil
}

// describeRefusals makes the operations that stand for what is not described.
func (s *Spec) describeRefusals() error {
	schema, method := s.doc.Components.Schemas[errorSchema], s.doc.Components.Responses[methodResponse]
	if schema == nil || method == nil {
		return fmt.Errorf("apitest: the components need the schema %s and the response %s", errorSchema, methodResponse)
	}
	text := "An error."
	refusal := &openapi3.ResponseRef{Value: &openapi3.Response{
		Description: &text,
		Content:     openapi3.NewContentWithJSONSchemaRef(schema),
	}}
	describe := func(statuses ...int) *openapi3.Operation {
		operation := &openapi3.Operation{Responses: openapi3.NewResponsesWithCapacity(len(statuses))}
		for _, status := range statuses {
			operation.Responses.Set(strconv.Itoa(status), refusal)
		}
		return operation
	}
	// Whoever is refused before the router has looked at the path learns nothing about it.
	early := []int{
		http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge,
		http.StatusTooManyRequests, http.StatusServiceUnavailable,
	}
	s.unknownPath = describe(append(early, http.StatusNotFound)...)
	s.wrongMethod = describe(early...)
	s.wrongMethod.Responses.Set(strconv.Itoa(http.StatusMethodNotAllowed), method)
	return nil
}

func statusOf(text string) (int, error) {
	status, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("status %q is not a number", text)
	}
	return status, nil
}

// declared lists everything that is described, in a stable order.
func (s *Spec) declared() []Key {
	var keys []Key
	for _, r := range s.routes {
		for _, operation := range r.item.Operations() {
			for _, status := range statuses(operation) {
				keys = append(keys, Key{operation.OperationID, status})
			}
		}
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(strings.Compare(a.Operation, b.Operation), a.Status-b.Status)
	})
	return keys
}

func (s *Spec) see(operation string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[Key{operation, status}]++
}

func (s *Spec) hasSeen(k Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[k] > 0
}
