package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dixie/internal/auth"
	"dixie/internal/instruments"
	"dixie/internal/ratelimit"
	"dixie/spansanitizer"
)

const (
	// ipv6Site is the prefix by which IPv6 callers are counted: one customer usually has a whole /64.
	ipv6Site = 64
	// limiterTimeout bounds one question to a limiter outside of the process.
	limiterTimeout = time.Second
	// noncePrefix tells the count of nonces from that of requests.
	noncePrefix = "nonce:"
)

// limitRate counts a request against its caller and refuses what is over the limit with 429.
func (a *API) limitRate(next http.Handler) http.Handler {
	if a.cfg.RatePerMinute == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.count(w, r, rateIdentity(exchangeFrom(r.Context())), a.cfg.RatePerMinute); err != nil {
			a.writeError(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// count books a request of the identity, says in the headers how many are left, and returns the refusal
// when it was one too many.
func (a *API) count(w http.ResponseWriter, r *http.Request, identity string, limit int) error {
	d := a.allow(r.Context(), identity, limit)
	setThree(w.Header(),
		[3]string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"},
		[3]string{strconv.Itoa(d.Limit), strconv.Itoa(max(0, d.Remaining)), strconv.Itoa(wholeSeconds(d.Reset))})
	if d.Allowed {
		return nil
	}
	over := instruments.LimitRequests
	if strings.HasPrefix(identity, noncePrefix) {
		over = instruments.LimitNonces
	}
	a.cfg.Metrics.LimitExceeded(r.Context(), over)
	return &apiError{
		Status: http.StatusTooManyRequests, Code: "rate_limited",
		Message: "Too many requests", RetryAfter: max(d.RetryAfter, 1),
	}
}

// allow asks the limiter that is shared with other replicas, if there is one. While that is out of order
// this process counts by itself: a limit that holds for each replica is better than none.
func (a *API) allow(ctx context.Context, identity string, limit int) ratelimit.Decision {
	if a.cfg.Limiter != nil {
		asking, cancel := context.WithTimeout(ctx, limiterTimeout)
		defer cancel()
		d, err := a.cfg.Limiter.Allow(asking, identity, limit)
		a.noteLimiter(ctx, err)
		if err == nil {
			return d
		}
	}
	d, _ := a.limiter.Allow(ctx, identity, limit) // It never fails.
	return d
}

// noteLimiter tells once, not for each request, that the shared limiter fails, and once that it works again. A caller
// that has left says nothing about it.
func (a *API) noteLimiter(ctx context.Context, err error) {
	if err == nil {
		if a.limiterAway.CompareAndSwap(true, false) {
			a.cfg.Logger.InfoContext(ctx, "rate limiter answers again")
		}
		return
	}
	if ctx.Err() != nil {
		return
	}
	a.cfg.Metrics.LimiterFellBack(ctx)
	if a.limiterAway.CompareAndSwap(false, true) {
		a.cfg.Logger.WarnContext(ctx, "rate limiter failed; this process counts by itself", "error", spansanitizer.TextOf(err))
	}
}

// rateIdentity is the wallet, else the API key's hash, else the address.
func rateIdentity(x *exchange) string {
	switch x.identity.Kind {
	case auth.Wallet, auth.APIKey:
		return x.owner
	case auth.Admin:
		return "admin"
	case auth.None:
	}
	return addressIdentity(x)
}

func addressIdentity(x *exchange) string {
	if x.client.Is6() {
		if site, err := x.client.Prefix(ipv6Site); err == nil {
			return "ip:" + site.Addr().String()
		}
	}
	return "ip:" + x.address()
}
