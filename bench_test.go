package dixie_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"dixie"
	"dixie/finn"
	"dixie/internal/auth"
	"dixie/internal/wallet"
	"dixie/telemetry"
)

// discard is a response that keeps nothing but its status. It is used again, so that what a benchmark counts is
// allocated by the handler.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header { return d.header }

func (d *discard) WriteHeader(status int) { d.status = status }

func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// noStakes knows no wallet, without asking anybody.
type noStakes struct{}

func (noStakes) Staked(context.Context, string) (float64, error) { return 0, finn.ErrNotAvailable }

// BenchmarkChain measures what the middleware costs a request whose handler does next to nothing.
func BenchmarkChain(b *testing.B) { benchmarkChain(b) }

// BenchmarkChainMeasured is the same with metrics.
func BenchmarkChainMeasured(b *testing.B) {
	metrics, err := telemetry.NewMetrics(telemetry.MetricsConfig{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := metrics.Shutdown(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
	})
	benchmarkChain(b, dixie.WithMetrics(metrics.MeterProvider()))
}

func benchmarkChain(b *testing.B, opts ...dixie.Option) {
	b.Helper()
	// wallets is so many that none of them reaches the limit of 10,000 requests a minute.
	const wallets = 4096
	secret := []byte("a secret of more than thirty-two bytes")
	signer, err := auth.NewHS256(secret)
	if err != nil {
		b.Fatal(err)
	}
	addresses, credentials := make([]string, wallets), make([]string, wallets)
	for i := range wallets {
		address, ok := wallet.Parse(fmt.Sprintf("0x%040x", i+1))
		if !ok {
			b.Fatal("no address")
		}
		token, err := signer.Sign(string(address), "team")
		if err != nil {
			b.Fatal(err)
		}
		addresses[i], credentials[i] = string(address), "Bearer "+token
	}
	allowlist, err := dixie.NewMemoryAllowlist(addresses, nil)
	if err != nil {
		b.Fatal(err)
	}
	h, err := dixie.New(append(opts,
		dixie.WithEnvironment(dixie.Test),
		dixie.WithLogger(slog.New(slog.NewJSONHandler(io.Discard, nil))), //nolint:sloglint // To format a line is part of the cost.
		dixie.WithAuth(dixie.AuthConfig{TokenSecret: secret, AdminKey: adminKey, Origins: []string{origin}}),
		dixie.WithAllowlist(allowlist),
		dixie.WithFinn(finn.Config{URL: "http://finn.test"}),
		dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}),
		dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: 10_000}),
	)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := h.Shutdown(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
	})
	for _, c := range []struct {
		name, path string
		signedIn   bool
		status     int
	}{
		{"livez", "/livez", false, http.StatusOK},
		{"unknown", "/nowhere", false, http.StatusNotFound},
		{"verify", "/api/auth/verify", true, http.StatusOK},
		{"sessions", "/api/sessions", true, http.StatusOK},
		{"unknown_api", "/api/nowhere", true, http.StatusNotFound},
	} {
		// request makes what one goroutine sends over and over, each time as another wallet.
		request := func() func(tb testing.TB, n int) bool {
			r, w := httptest.NewRequest(http.MethodGet, c.path, nil), &discard{header: http.Header{}}
			authorization := make([]string, 1)
			if c.signedIn {
				r.Header["Authorization"] = authorization
			}
			return func(tb testing.TB, n int) bool {
				tb.Helper()
				clear(w.header)
				w.status = 0
				authorization[0] = credentials[n%wallets]
				h.ServeHTTP(w, r)
				if w.status != c.status {
					tb.Errorf("%s: status %d, want %d", c.path, w.status, c.status)
				}
				return w.status == c.status
			}
		}
		var n atomic.Int64
		warm := request()
		for range wallets {
			if !warm(b, int(n.Add(1))) {
				return
			}
		}
		b.Run(c.name, func(b *testing.B) {
			serve := request()
			b.ReportAllocs()
			for b.Loop() {
				if !serve(b, int(n.Add(1))) {
					break
				}
			}
		})
		b.Run(c.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				serve := request()
				for pb.Next() && serve(b, int(n.Add(1))) {
					continue
				}
			})
		})
	}
}
