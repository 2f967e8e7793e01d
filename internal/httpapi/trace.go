package httpapi

import (
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

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
		parent := trace.SpanContextFromContext(ctx).SpanID()
		ctx, span := spansanitizer.StartSpan(ctx, a.cfg.Tracer, spansanitizer.Request)
		defer span.End() // By itself: it marks the span when there is a panic.
		r = r.WithContext(ctx)
		defer func() { a.finishRequest(span, w, r) }()
		// A provider that records nothing hands out the client's span, whose ids are not ours to tell.
		if sc := span.SpanContext(); sc.IsValid() && sc.SpanID() != parent {
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
	status := statusOf(w)
	span.SetAttributes(
		attribute.String(spansanitizer.Method, knownMethod(r.Method)),
		attribute.String(spansanitizer.URL, a.routeOf(x, r)),
		attribute.Int(spansanitizer.StatusCode, status),
		attribute.Float64(spansanitizer.DurationMS, inMilliseconds(time.Since(x.start))),
	)
	if failure := failureOf(x, status); failure != nil {
		span.Fail(failure)
	} else if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
}

// failureOf is how the service failed at a request, without the cause: before its answer, or within a stream whose
// status says nothing of it. Nil if it did not fail. When a header is out, an unknown cause is a client that has left.
func failureOf(x *exchange, status int) *apiError {
	if x.cause == nil {
		return nil
	}
	told := *toAPIError(x.cause)
	if told.Status < http.StatusInternalServerError || status < http.StatusInternalServerError && told.Code == errInternal.Code {
		return nil
	}
	told.cause = nil
	return &told
}

func inMilliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
