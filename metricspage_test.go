package dixie_test

import (
	"net/http"
	"testing"

	"dixie"
)

// TestMetricsPage: it is the admin's, and whoever guesses at the key meets the rate limit.
func TestMetricsPage(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) })
	const perMinute = 5
	s := start(t, nil, dixie.WithMetricsPage(page), dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: perMinute}))
	s.client = &http.Client{Transport: &http.Transport{}} // The description has no metrics.
	t.Cleanup(s.client.CloseIdleConnections)
	if got := s.do(http.MethodGet, "/metrics", adminKey, ""); got.status != http.StatusOK || string(got.body) != "up 1\n" {
		t.Errorf("%d %s", got.status, got.body)
	}
	want(t, "none", s.do(http.MethodGet, "/metrics", "", ""), http.StatusUnauthorized, "unauthorized")
	for range perMinute - 1 {
		want(t, "wrong", s.do(http.MethodGet, "/metrics", "a-guess", ""), http.StatusForbidden, "forbidden")
	}
	want(t, "too many", s.do(http.MethodGet, "/metrics", "a-guess", ""), http.StatusTooManyRequests, "rate_limited")
	want(t, "post", s.do(http.MethodPost, "/metrics", adminKey, "{}"), http.StatusMethodNotAllowed, "method_not_allowed")
	without := start(t, nil)
	without.client = s.client
	want(t, "no page", without.do(http.MethodGet, "/metrics", adminKey, ""), http.StatusNotFound, "not_found")
}
