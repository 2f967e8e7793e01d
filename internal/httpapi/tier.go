package httpapi

import (
	"net/http"
)

// resolveTier finds the caller's conviction tier and names it in the headers, before the handler runs,
// so that refusals of handlers carry it too. It never refuses.
func (a *API) resolveTier(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeFrom(r.Context())
		x.tier = a.cfg.Tiers.Resolve(r.Context(), x.identity.Wallet)
		h := w.Header()
		h["X-Conviction-Tier"] = []string{x.tier.Tier.String()}
		h["X-Conviction-Source"] = []string{string(x.tier.Source)}
		h["X-Model-Pool"] = []string{x.tier.Tier.ModelPool()}
		next.ServeHTTP(w, r)
	})
}
