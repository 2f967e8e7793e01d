package httpapi

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"time"
)

// recoverPanic turns a panic into a 500 whose cause only the log sees.
func (a *API) recoverPanic(next http.Handler) http.Handler {
	//nolint:contextcheck // The request carries the context.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v) //nolint:forbidigo // net/http's own signal to drop the connection.
			}
			x := exchangeFrom(r.Context())
			// The value may hold anything a client sent, so only its type is logged.
			a.cfg.Logger.ErrorContext(r.Context(), "panic in handler",
				"route", a.routeOf(x, r), "panic_type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			if rw, ok := w.(*response); ok && rw.wroteHeader() {
				// Half an answer must not look like a whole one.
				x.cause = errPanic
				panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's own signal to drop the connection.
			}
			a.writeError(w, r, errInternal.because(errPanic))
		}()
		next.ServeHTTP(w, r)
	})
}

var errPanic = errors.New("panic")

// staticHeaders are the same on every response.
func staticHeaders(next http.Handler) http.Handler {
	// The values are shared between requests: net/http only reads them.
	static := http.Header{
		"Content-Security-Policy":           {"default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self' wss:"},
		"Strict-Transport-Security":         {"max-age=31536000; includeSubDomains"},
		"X-Frame-Options":                   {"DENY"},
		"X-Content-Type-Options":            {"nosniff"},
		"Referrer-Policy":                   {"strict-origin-when-cross-origin"},
		"Cross-Origin-Opener-Policy":        {"same-origin"},
		"Cross-Origin-Resource-Policy":      {"same-origin"},
		"Origin-Agent-Cluster":              {"?1"},
		"X-Dns-Prefetch-Control":            {"off"},
		"X-Download-Options":                {"noopen"},
		"X-Permitted-Cross-Domain-Policies": {"none"},
		"X-Xss-Protection":                  {"0"},
		"X-Protocol-Version":                {ProtocolVersion},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		maps.Copy(h, static)
		next.ServeHTTP(w, r)
	})
}

// setThree sets headers that come together, by keys in canonical form. Their values share one array.
func setThree(h http.Header, keys, values [3]string) {
	for i, key := range keys {
		h[key] = values[i : i+1 : i+1]
	}
}

const (
	corsMethods = "GET, POST, PUT, DELETE, OPTIONS"
	corsHeaders = "Content-Type, Authorization, X-Request-Id, X-Protocol-Version, Idempotency-Key, " +
		"traceparent, x-tba-address, x-tba-signature, x-tba-timestamp"
	corsExpose = "X-Request-Id, X-Response-Time, X-Protocol-Version, X-Conviction-Tier, X-Conviction-Source, " +
		"X-Model-Pool, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, " +
		"X-Duration-Ms, Idempotent-Replay, traceparent, x-trace-id"
	corsMaxAge = "3600"
)

// cors answers preflights and names allowed origins. A foreign origin is served without an allow-origin
// header: it is the browser that keeps the answer from the page (Fetch standard, CORS protocol).
func (a *API) cors(next http.Handler) http.Handler {
	// The values are shared between requests: net/http only reads them.
	credentials, exposed, vary := []string{"true"}, []string{corsExpose}, []string{"Origin"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		origin := r.Header.Get("Origin")
		_, allowed := a.origins[origin]
		if allowed {
			h.Set("Access-Control-Allow-Origin", origin)
		}
		h["Access-Control-Allow-Credentials"] = credentials
		h["Access-Control-Expose-Headers"] = exposed
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Vary", "Origin, Access-Control-Request-Headers")
			if allowed {
				h.Set("Access-Control-Allow-Methods", corsMethods)
				h.Set("Access-Control-Allow-Headers", corsHeaders)
				h.Set("Access-Control-Max-Age", corsMaxAge)
			}
			w.WriteHeader(http.StatusNoContent)
			return
		}
		h["Vary"] = vary
		next.ServeHTTP(w, r)
	})
}

// limitBody refuses a declared length at once, cuts a streamed body at the same bound, and waits for it no
// longer than for a request.
func (a *API) limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBodyBytes {
			w.Header().Set("Connection", "close")
			a.writeError(w, r, errTooLarge)
			return
		}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
			// net/http takes the deadline away when the body has been read. A reader without deadlines, as
			// in tests, cannot hang.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestTimeout))
		}
		next.ServeHTTP(w, r)
	})
}
