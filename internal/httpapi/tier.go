package httpapi

import (
	"net/http"

	"dixie/governance"
)

// resolveTier finds the caller's conviction tier and names it in the headers, before the handler runs,
// so that refusals of handlers carry it too. It never refuses.
func (a *API) resolveTier(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeFrom(r.Context())
		if !x.tierKnown {
			x.tier = a.cfg.Tiers.Resolve(r.Context(), x.identity.Wallet)
		}
		setThree(w.Header(),
			[3]string{"X-Conviction-Tier", "X-Conviction-Source", "X-Model-Pool"},
			[3]string{x.tier.Tier.String(), string(x.tier.Source), x.tier.Tier.ModelPool()})
		next.ServeHTTP(w, r)
	})
}

// requireTier opens a route to wallets of that tier or above.
func requireTier(required governance.Tier, next handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, err := callerWallet(r); err != nil {
			return err
		}
		if actual := exchangeFrom(r.Context()).tier.Tier; actual < required {
			return tierTooLow(actual, required)
		}
		return next(w, r)
	}
}

type evaluationGap struct {
	TrustScore *float64 `json:"trust_score_gap,omitempty"`
	State      *int     `json:"reputation_state_gap,omitempty"`
}

// tierTooLow tells the caller how far away the tier is.
func tierTooLow(actual, required governance.Tier) *apiError {
	gap := governance.TierGap(actual, required)
	return &apiError{
		Status: http.StatusForbidden, Code: "forbidden", Message: "This needs the tier " + required.String() + " or above",
		Extra: struct {
			Actual   string        `json:"actual_tier"`
			Required string        `json:"required_tier"`
			Codes    []string      `json:"denial_codes"`
			Gap      evaluationGap `json:"evaluation_gap"`
		}{actual.String(), required.String(), gap.Codes, evaluationGap{gap.TrustScoreGap, gap.StateGap}},
	}
}
