package proxybench_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"sync"

	"dixie"
	"dixie/finn"
	"dixie/finn/localfinn"
	"dixie/internal/wallet"
)

// The roles; the package's comment says what they are.
const (
	roleFinn        = "finn"
	roleBare        = "bare"
	rolePooled      = "pooled"
	roleHandwritten = "handwritten"
	roleDixie       = "dixie"
	roleObserved    = "observed"
)

const (
	tokenSecret = "a secret for measurements, known to everybody"
	// perMinute is the most that dixie can be told to let a wallet do. Callers are enough that none meets it.
	perMinute = 10_000
)

// proxies are the roles that are compared, the one to compare with first.
func proxies() []string {
	return []string{roleBare, rolePooled, roleHandwritten, roleDixie, roleObserved}
}

// isDixie tells the roles that keep sessions and speak dixie's API.
func isDixie(role string) bool { return role == roleDixie || role == roleObserved }

// cast makes the handler of a role, and what ends it.
func cast(role string, upstream *url.URL) (http.Handler, func() error, error) {
	nothing := func() error { return nil }
	switch role {
	case roleFinn:
		server := localfinn.New(localfinn.Config{})
		return server, func() error { return server.Close(context.Background()) }, nil
	case roleBare:
		return newReverseProxy(upstream), nothing, nil
	case rolePooled:
		proxy := newReverseProxy(upstream)
		proxy.BufferPool = &pool{}
		return proxy, nothing, nil
	case roleHandwritten:
		logger, end, err := nullLogger()
		return newHandwritten(upstream, logger), end, err
	case roleDixie:
		return newDixie(upstream)
	case roleObserved:
		return newObserved(upstream)
	default:
		return nil, nil, fmt.Errorf("no such role: %s", role)
	}
}

func newReverseProxy(upstream *url.URL) *httputil.ReverseProxy {
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 2 * workers}
	return proxy
}

// pool keeps the buffers of a reverse proxy.
type pool struct{ buffers sync.Pool }

// Get implements httputil.BufferPool.
func (p *pool) Get() []byte {
	if b, ok := p.buffers.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (p *pool) Put(b []byte) { p.buffers.Put(&b) }

// nullLogger formats every line and hands it to the kernel.
func nullLogger() (*slog.Logger, func() error, error) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewJSONHandler(null, nil)), null.Close, nil
}

// newDixie is configured as in production but for its stores, which are in memory: the environment decides only
// what may be left out.
func newDixie(upstream *url.URL, more ...dixie.Option) (http.Handler, func() error, error) {
	logger, end, err := nullLogger()
	if err != nil {
		return nil, nil, err
	}
	var wallets []string
	for i := range callers {
		address, err := walletOf(i)
		if err != nil {
			return nil, nil, err
		}
		wallets = append(wallets, address)
	}
	allowlist, err := dixie.NewMemoryAllowlist(wallets, nil)
	if err != nil {
		return nil, nil, err
	}
	handler, err := dixie.New(append(more,
		dixie.WithEnvironment(dixie.Test),
		dixie.WithLogger(logger),
		dixie.WithAuth(dixie.AuthConfig{
			TokenSecret: []byte(tokenSecret), AdminKey: "admin-key-for-measurements", Origins: []string{"https://app.example"},
		}),
		dixie.WithAllowlist(allowlist),
		dixie.WithFinn(finn.Config{URL: upstream.String()}),
		dixie.WithRateLimit(dixie.RateLimitConfig{
			PerMinute: perMinute, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		}),
	)...)
	if err != nil {
		return nil, nil, err
	}
	return handler, func() error {
		return errors.Join(handler.Shutdown(context.Background()), allowlist.Close(), end())
	}, nil
}

// walletOf is the address of a caller.
func walletOf(caller int) (string, error) {
	address, ok := wallet.Parse(fmt.Sprintf("0x%040x", caller+1))
	if !ok {
		return "", fmt.Errorf("no address for caller %d", caller)
	}
	return string(address), nil
}
