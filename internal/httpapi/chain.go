package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// middleware is the standard shape.
type middleware func(next http.Handler) http.Handler

// outer is what every request passes, in this order. What it sets up (request id, static headers,
// CORS, body limit, access log) also holds for requests that are refused further in.
func (a *API) outer(inner http.Handler) http.Handler {
	return wrap(inner,
		a.beginExchange, // request id, client address, internal headers removed
		a.trace,         // the span of the request, in the client's trace if there is one
		a.measure,       // duration and number of requests
		a.logAccess,     // one line for each request, whatever happens below
		a.recoverPanic,
		staticHeaders, // with the protocol version
		under("/api/", a.cors),
		under("/api/", a.limitBody),
	)
}

// inner is what requests under /api/ and for the metrics pass, in this order: membership, then payment, then capability.
func (a *API) inner(mux http.Handler) http.Handler {
	stages := []middleware{
		a.authenticate,
		a.limitRate,
		a.admitListed,
	}
	if a.cfg.Payment != nil {
		stages = append(stages, a.payment)
	}
	stages = append(stages, a.resolveTier, timeHandler)
	api := wrap(mux, stages...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !isCleanPath(r):
			a.writeError(w, r, errNotFound)
		case isAPI(r.URL.Path), r.URL.Path == metricsPath && a.cfg.MetricsPage != nil:
			api.ServeHTTP(w, r)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// payment asks the embedder's check, but not where callers sign in, operators administrate and probes
// look: nobody could pay without these.
func (a *API) payment(next http.Handler) http.Handler {
	checked := a.cfg.Payment(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isExempt(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		checked.ServeHTTP(w, r)
	})
}

// wrap puts the first stage outermost.
func wrap(h http.Handler, stages ...middleware) http.Handler {
	for _, stage := range slices.Backward(stages) {
		h = stage(h)
	}
	return h
}

// under applies a stage to the paths below prefix only.
func under(prefix string, stage middleware) middleware {
	return func(next http.Handler) http.Handler {
		staged := stage(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, prefix) {
				staged.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func isAPI(path string) bool { return strings.HasPrefix(path, "/api/") }

// isCleanPath refuses what http.ServeMux would answer with a redirect of its own: dot segments, double
// slashes, and bytes that have no place in a path.
func isCleanPath(r *http.Request) bool {
	p := r.URL.Path
	if p == "" || p[0] != '/' || strings.Contains(p, "//") {
		return false
	}
	for i := range len(p) {
		if p[i] < ' ' || p[i] == 0x7f {
			return false
		}
	}
	for segment := range strings.SplitSeq(p, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// timeHandler marks where the handler stage begins, for X-Duration-Ms.
func timeHandler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchangeFrom(r.Context()).handlerStart = time.Now()
		next.ServeHTTP(w, r)
	})
}
