package httpapi

import (
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"dixie/internal/tracecontext"
	"dixie/spansanitizer"
)

// trace runs the rest inside the request's span, which continues the client's trace, and tells its ids in the
// headers. It ends when the answer has, a stream's and a socket's with them. With tracing off there are no such
// headers, and the client's trace goes through to Finn as it came.
func (a *API) trace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := tracecontext.Extract(r.Context(), r.Header)
		if !a.cfg.Tracer.Enabled() {
			if ctx != r.Context() {
				r = r.WithContext(ctx)
			}
			next.ServeHTTP(w, r)
			return
		}
		ctx, span := spansanitizer.StartSpan(ctx, a.cfg.Tracer, spansanitizer.Request)
		defer span.End() // By itself: it marks the span when there is a panic.
		r = r.WithContext(ctx)
		defer func() { a.finishRequest(span, w, r) }()
		if sc := span.SpanContext(); sc.IsValid() {
			setThree(w.Header(), [3]string{"Traceparent", "X-Trace-Id", "X-Span-Id"},
				[3]string{tracecontext.Format(sc), sc.TraceID().String(), sc.SpanID().String()})
		}
		next.ServeHTTP(w, r)
	})
}

// finishRequest says what became of a request. What failed is told by the words that the client was told, never by
// those of the cause, which may repeat what somebody sent.
func (a *API) finishRequest(span *spansanitizer.Span, w http.ResponseWriter, r *http.Request) {
	if !span.IsRecording() {
		return
	}
	x := exchangeFrom(r.Context())
	status := http.StatusOK
	if rw, ok := w.(*response); ok && rw.status != 0 {
		status = rw.status
	}
	span.SetAttributes(
		attribute.String(spansanitizer.Method, knownMethod(r.Method)),
		attribute.String(spansanitizer.URL, a.routeOf(x, r)),
		attribute.Int(spansanitizer.StatusCode, status),
		attribute.Float64(spansanitizer.DurationMS, inMilliseconds(time.Since(x.start))),
	)
	switch failure := serverFailure(x.cause); {
	case failure != nil && (status >= http.StatusInternalServerError || failure.Code != errInternal.Code):
		span.Fail(failure)
	case status >= http.StatusInternalServerError:
		span.SetStatus(codes.Error, http.StatusText(status))
	}
}

// serverFailure is what a client is told of a cause, without the cause; nil if it is not the service that failed.
func serverFailure(cause error) *apiError {
	if cause == nil {
		return nil
	}
	told := *toAPIError(cause)
	if told.Status < http.StatusInternalServerError {
		return nil
	}
	told.cause = nil
	return &told
}

func inMilliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
