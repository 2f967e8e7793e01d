package main_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// scrapeWith returns the status and the body of /metrics.
func scrapeWith(t *testing.T, base, authorization string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// TestMetricsOfTheProcess asks for /metrics where it is guarded, and where it has an address of its own.
func TestMetricsOfTheProcess(t *testing.T) {
	t.Parallel()
	binary := build(t, "dixie/examples/staging-server")
	t.Run("guarded", func(t *testing.T) {
		t.Parallel()
		server := serve(t, binary, "DIXIE_ADMIN_KEY=the-admin-key")
		for authorization, want := range map[string]int{
			"": http.StatusUnauthorized, "Bearer wrong": http.StatusForbidden, "Bearer the-admin-key": http.StatusOK,
		} {
			const ready = `http_server_request_duration_seconds_count{http_request_method="GET",http_route="/readyz"`
			status, body := scrapeWith(t, server.url, authorization)
			if status != want || (want == http.StatusOK) != strings.Contains(body, ready) {
				t.Errorf("%q: %d, want %d:\n%s", authorization, status, want, body)
			}
		}
		server.stop(t)
	})
	t.Run("own address", func(t *testing.T) {
		t.Parallel()
		port := freePort(t)
		server := serve(t, binary, "DIXIE_ADMIN_KEY=the-admin-key", "DIXIE_METRICS_LISTEN="+port)
		if status, body := scrapeWith(t, "http://127.0.0.1:"+port, ""); status != http.StatusOK || !strings.Contains(body, "go_goroutines ") {
			t.Errorf("own address: %d\n%s", status, body)
		}
		for authorization, want := range map[string]int{"": http.StatusUnauthorized, "Bearer the-admin-key": http.StatusOK} {
			if status, _ := scrapeWith(t, server.url, authorization); status != want {
				t.Errorf("main port, %q: %d, want %d", authorization, status, want)
			}
		}
		server.stop(t)
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+port); err == nil {
			_ = conn.Close()
			t.Error("the address still answers after the stop")
		}
	})
}
