package httpapi

import (
	"net/http"
	"net/netip"
	"strconv"

	"dixie/internal/auth"
	"dixie/internal/ratelimit"
)

// ipv6Site is the prefix by which IPv6 callers are counted: one customer usually has a whole /64.
const ipv6Site = 64

// limitRate counts a request against its caller and refuses what is over the limit with 429.
func (a *API) limitRate(next http.Handler) http.Handler {
	if a.cfg.RatePerMinute == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeFrom(r.Context())
		d, err := a.cfg.Limiter.Allow(r.Context(), rateIdentity(x), a.cfg.RatePerMinute)
		if err != nil {
			// A limiter that fails has nothing to say about this caller; the caller is not to blame.
			a.cfg.Logger.WarnContext(r.Context(), "rate limiter failed", "error", err.Error(), "request_id", x.requestID)
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h["X-Ratelimit-Limit"] = []string{strconv.Itoa(d.Limit)}
		h["X-Ratelimit-Remaining"] = []string{strconv.Itoa(max(0, d.Remaining))}
		h["X-Ratelimit-Reset"] = []string{strconv.Itoa(wholeSeconds(d.Reset))}
		if !d.Allowed {
			a.writeError(w, r, rateLimited(d))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func rateLimited(d ratelimit.Decision) *apiError {
	return &apiError{
		Status: http.StatusTooManyRequests, Code: "rate_limited",
		Message: "Too many requests", RetryAfter: max(d.RetryAfter, 1),
	}
}

// rateIdentity is the wallet, else the API key's hash, else the address.
func rateIdentity(x *exchange) string {
	switch x.identity.Kind {
	case auth.Wallet, auth.APIKey:
		return x.identity.Owner()
	case auth.Admin:
		return "admin"
	case auth.None:
	}
	return addressIdentity(x.client)
}

func addressIdentity(client netip.Addr) string {
	if client.Is6() {
		if site, err := client.Prefix(ipv6Site); err == nil {
			return "ip:" + site.Addr().String()
		}
	}
	return "ip:" + client.String()
}
