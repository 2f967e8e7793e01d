package main

import (
	"net/http"

	"dixie/internal/tracecontext"
	"dixie/spansanitizer"
)

// serviceName is what the spans are under, beside those of dixie-bff.
const serviceName = "local-finn"

// traced puts a span around each request but the probes, in the trace of its client. A socket's lasts as long as the
// socket, which with dixie is one turn.
func traced(next http.Handler, tracer spansanitizer.Tracer) http.Handler {
	if !tracer.Enabled() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health", "/healthz", "/health/deps":
			next.ServeHTTP(w, r)
			return
		}
		ctx, span := spansanitizer.StartSpan(tracecontext.Extract(r.Context(), r.Header), tracer, spansanitizer.FinnRequest)
		defer span.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
