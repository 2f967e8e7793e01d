package proxybench_test

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"dixie/internal/auth"
)

// handwritten is the proxy that one would write instead: it checks the token, counts the requests of its subject in
// minutes, forwards, and logs a line.
type handwritten struct {
	proxy  *httputil.ReverseProxy
	parser *jwt.Parser
	logger *slog.Logger

	mu     sync.Mutex
	minute int64          // GUARDED_BY(mu)
	counts map[string]int // GUARDED_BY(mu)
}

func newHandwritten(upstream *url.URL, logger *slog.Logger) *handwritten {
	return &handwritten{
		proxy:  newReverseProxy(upstream),
		parser: jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(auth.Issuer), jwt.WithExpirationRequired()),
		logger: logger,
		counts: make(map[string]int),
	}
}

// ServeHTTP implements http.Handler.
func (h *handwritten) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	h.serve(rec, r)
	h.logger.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", rec.status),
		slog.Int64("latency_ms", time.Since(start).Milliseconds()), slog.Int64("bytes", rec.bytes))
}

func (h *handwritten) serve(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	var claims jwt.RegisteredClaims
	_, err := h.parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return []byte(tokenSecret), nil })
	switch {
	case err != nil:
		http.Error(w, "unauthorized", http.StatusUnauthorized)
	case !h.allow(claims.Subject, time.Now().Unix()/60):
		http.Error(w, "too many requests", http.StatusTooManyRequests)
	default:
		h.proxy.ServeHTTP(w, r)
	}
}

func (h *handwritten) allow(subject string, minute int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.minute != minute {
		h.minute = minute
		clear(h.counts)
	}
	h.counts[subject]++
	return h.counts[subject] <= perMinute
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter

	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController through.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
