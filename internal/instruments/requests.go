package instruments

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Unmatched is the route of a request that no route is for.
const Unmatched = "unmatched"

// Aborted is the class of a request that was cut off after its header was out.
const Aborted = "aborted"

// routeSeries keeps the attributes of one route, by method and by class. They are made when they are first needed.
type routeSeries struct {
	route   string
	methods [numMethods]methodSeries
}

type methodSeries struct {
	active  atomic.Pointer[[]metric.AddOption]
	classes [numClasses]atomic.Pointer[[]metric.RecordOption]
}

const (
	numMethods = 10
	numClasses = 7
)

func (b *builder) requests(i *Instruments) {
	i.requestDuration = b.duration("http.server.request.duration", "Time from the first byte of a request to the end of its answer.")
	i.activeRequests = b.upDownQuiet("http.server.active_requests", "{request}", "Requests under way.")
	i.Routes(nil)
}

// Routes says which templates a request can have, beside [Unmatched]. It comes before the first request.
func (i *Instruments) Routes(templates []string) {
	if i == nil {
		return
	}
	i.requests = make(map[string]*routeSeries, len(templates)+1)
	for _, route := range append([]string{Unmatched}, templates...) {
		i.requests[route] = &routeSeries{route: route}
	}
}

// upDownQuiet has no series before something happens.
func (b *builder) upDownQuiet(name, unit, description string) metric.Int64UpDownCounter {
	c, err := b.meter.Int64UpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	b.check(err)
	return c
}

// Request is one request under way. The zero value measures nothing.
type Request struct {
	instruments *Instruments
	series      *methodSeries
	route       string
	method      int
}

// Begin counts a request under way. The caller ends it.
func (i *Instruments) Begin(ctx context.Context, route, method string) Request {
	if i == nil {
		return Request{}
	}
	r := i.requests[route]
	if r == nil {
		r = i.requests[Unmatched]
	}
	m := methodIndex(method)
	s := &r.methods[m]
	options := s.active.Load()
	if options == nil {
		options = &[]metric.AddOption{metric.WithAttributeSet(attribute.NewSet(
			attribute.String("http.request.method", methodWord(m)), attribute.String("http.route", r.route)))}
		s.active.Store(options)
	}
	i.activeRequests.Add(ctx, 1, *options...)
	return Request{instruments: i, series: s, route: r.route, method: m}
}

// End records how long the request took. A status of 0 is one that was cut off.
func (r Request) End(ctx context.Context, status int, took time.Duration) {
	if r.instruments == nil {
		return
	}
	r.instruments.activeRequests.Add(ctx, -1, *r.series.active.Load()...)
	class := classIndex(status)
	options := r.series.classes[class].Load()
	if options == nil {
		options = &[]metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(
			attribute.String("http.request.method", methodWord(r.method)), attribute.String("http.route", r.route),
			attribute.String("status_class", classWord(class))))}
		r.series.classes[class].Store(options)
	}
	r.instruments.requestDuration.Record(ctx, took.Seconds(), *options...)
}

// methodIndex numbers the known methods; the last is for all others.
func methodIndex(method string) int {
	for i := range numMethods - 1 {
		if methodWord(i) == method {
			return i
		}
	}
	return numMethods - 1
}

func methodWord(i int) string {
	switch i {
	case 0:
		return http.MethodGet
	case 1:
		return http.MethodPost
	case 2:
		return http.MethodDelete
	case 3:
		return http.MethodOptions
	case 4:
		return http.MethodHead
	case 5:
		return http.MethodPut
	case 6:
		return http.MethodPatch
	case 7:
		return http.MethodConnect
	case 8:
		return http.MethodTrace
	default:
		return other
	}
}

// classIndex is the first digit of the status; 0 is for what was cut off.
func classIndex(status int) int {
	const hundred = 100
	switch class := status / hundred; {
	case class >= 0 && class < numClasses-1:
		return class
	default:
		return numClasses - 1
	}
}

func classWord(class int) string {
	switch class {
	case 0:
		return Aborted
	case 1:
		return "1xx"
	case 2:
		return "2xx"
	case 3:
		return "3xx"
	case 4:
		return "4xx"
	case 5:
		return "5xx"
	default:
		return other
	}
}
