package apitest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// route is a path template cut into segments.
type route struct {
	template string
	segments []string
	item     *openapi3.PathItem
}

func newRoute(template string, item *openapi3.PathItem) route {
	return route{template: template, segments: strings.Split(template, "/"), item: item}
}

// compare puts templates with a fixed segment before those with a parameter in its place, so that the
// first match is the most specific one.
func (r route) compare(other route) int {
	for i := range min(len(r.segments), len(other.segments)) {
		_, left := parameter(r.segments[i])
		_, right := parameter(other.segments[i])
		switch {
		case left && !right:
			return 1
		case right && !left:
			return -1
		}
	}
	return strings.Compare(r.template, other.template)
}

// match returns the path parameters when the escaped path fits the template.
func (r route) match(segments []string) (map[string]string, bool) {
	if len(segments) != len(r.segments) {
		return nil, false
	}
	parameters := make(map[string]string)
	for i, want := range r.segments {
		name, isParameter := parameter(want)
		if !isParameter {
			if segments[i] != want {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(segments[i])
		if err != nil || value == "" {
			return nil, false
		}
		parameters[name] = value
	}
	return parameters, true
}

func parameter(segment string) (name string, ok bool) {
	inner, opened := strings.CutPrefix(segment, "{")
	name, closed := strings.CutSuffix(inner, "}")
	return name, opened && closed
}

// find returns the route of a request and its path parameters; nil when the path is not described.
func (s *Spec) find(request *http.Request) (*route, map[string]string) {
	segments := strings.Split(request.URL.EscapedPath(), "/")
	for i := range s.routes {
		if parameters, ok := s.routes[i].match(segments); ok {
			return &s.routes[i], parameters
		}
	}
	return nil, nil
}

// Operation is a described operation, for tests that go through all of them.
type Operation struct {
	// ID is the operationId.
	ID string
	// Method is the HTTP method.
	Method string
	// Template is the path as it is described.
	Template string
	// Path has the example of each path parameter, or "example", in its place.
	Path string
	// Statuses are those that are described, in ascending order.
	Statuses []int
}

// Operations lists every described operation by path and method.
func (s *Spec) Operations() []Operation {
	var all []Operation
	for _, r := range s.routes {
		for method, operation := range r.item.Operations() {
			all = append(all, Operation{
				ID: operation.OperationID, Method: method, Template: r.template, Path: r.example(operation),
				Statuses: statuses(operation),
			})
		}
	}
	slices.SortFunc(all, func(a, b Operation) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
	})
	return all
}

// example fills the template with the examples of its parameters.
func (r route) example(operation *openapi3.Operation) string {
	segments := slices.Clone(r.segments)
	for i, segment := range segments {
		name, ok := parameter(segment)
		if !ok {
			continue
		}
		segments[i] = "example"
		for _, described := range slices.Concat(r.item.Parameters, operation.Parameters) {
			if p := described.Value; p.In == openapi3.ParameterInPath && p.Name == name && p.Example != nil {
				segments[i] = url.PathEscape(fmt.Sprint(p.Example))
			}
		}
	}
	return strings.Join(segments, "/")
}

func statuses(operation *openapi3.Operation) []int {
	var all []int
	for text := range operation.Responses.Map() {
		if status, err := statusOf(text); err == nil {
			all = append(all, status)
		}
	}
	slices.Sort(all)
	return all
}
