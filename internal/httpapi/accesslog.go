package httpapi

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"dixie/spansanitizer"
)

// logAccess writes one line for each request when it has ended: error at 5xx and for what broke off, warn at 4xx, else
// info.
// The path is the route's template, never what the client sent, so that no wallet, key or id of a
// person gets into the log; and a cause, which may repeat what somebody sent, is sanitised and short.
func (a *API) logAccess(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		aborted := true
		defer func() { a.logExchange(w, r, aborted) }()
		next.ServeHTTP(w, r)
		aborted = false
	})
}

func (a *API) logExchange(w http.ResponseWriter, r *http.Request, aborted bool) {
	ctx := r.Context()
	x := exchangeFrom(ctx)
	status := statusOf(w)
	var sent int64
	if rw, ok := w.(*response); ok {
		sent = rw.bytes
	}
	aborted = aborted || status < http.StatusBadRequest && failureOf(x, status) != nil
	level := slog.LevelInfo
	switch {
	case status >= http.StatusInternalServerError || aborted:
		level = slog.LevelError
	case status >= http.StatusBadRequest:
		level = slog.LevelWarn
	}
	if !a.cfg.Logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8) //nolint:mnd // The number of attributes below.
	attrs = append(attrs,
		slog.String("method", knownMethod(r.Method)),
		slog.String("path", a.routeOf(x, r)),
		slog.Int("status", status),
		slog.Int64("latency_ms", time.Since(x.start).Milliseconds()),
		slog.Int64("bytes", sent),
	)
	if x.cause != nil && level >= slog.LevelWarn {
		attrs = append(attrs, slog.String("error", spansanitizer.TextOf(x.cause)))
	}
	if aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	a.cfg.Logger.LogAttrs(ctx, level, "request", attrs...)
}

// routeOf is the template of the route, also for requests that were refused before they reached it.
func (a *API) routeOf(x *exchange, r *http.Request) string {
	if x.route != "" {
		return x.route
	}
	if !isCleanPath(r) {
		return "unmatched"
	}
	if _, pattern := a.mux.Handler(r); pattern != "" && pattern != "/" {
		return template(pattern)
	}
	return "unmatched"
}

// template is a pattern of the mux without its mark for the end of the path.
func template(pattern string) string { return strings.TrimSuffix(pattern, "{$}") }

// statusOf is the status that the client was told.
func statusOf(w http.ResponseWriter) int {
	if rw, ok := w.(*response); ok && rw.status != 0 {
		return rw.status
	}
	return http.StatusOK
}

// knownMethod keeps a client from writing words of its own into the log.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return m
	default:
		return "other"
	}
}
