package httpapi

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"dixie/internal/auth"
	"dixie/internal/instruments"
)

const longestSignInMessage = 4096

// roleTeam is the role of everyone who signs in with a wallet.
const roleTeam = "team"

// getNonce issues a nonce. It costs memory, so an address gets only a share of the general limit.
func (a *API) getNonce(w http.ResponseWriter, r *http.Request) error {
	x := exchangeFrom(r.Context())
	if a.cfg.RatePerMinute > 0 {
		if err := a.count(w, r, noncePrefix+addressIdentity(x), a.nonceLimit); err != nil {
			return err
		}
	}
	nonce, expires, err := a.cfg.SignIn.Nonce(r.Context())
	if err != nil {
		return err
	}
	noStore(w)
	return a.writeJSON(w, http.StatusOK, struct {
		Nonce     string    `json:"nonce"`
		ExpiresAt timestamp `json:"expiresAt"`
	}{nonce, timestamp(expires)})
}

// postSignIn exchanges a signed message for a token. Every way in which the sign-in does not hold gets
// the same answer; the reason goes to the log. Only a wallet that proved itself learns that it is not
// on the allowlist.
func (a *API) postSignIn(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Message   string  `json:"message"`
		Signature *string `json:"signature"`
	}
	if err := decodeJSON(r, &body); err != nil {
		return err
	}
	switch {
	case body.Message == "" || utf8.RuneCountInString(body.Message) > longestSignInMessage:
		return invalid("message must have 1 to %d characters", longestSignInMessage)
	case body.Signature == nil:
		return invalid("signature is required")
	}
	address, err := a.cfg.SignIn.Verify(r.Context(), body.Message, *body.Signature)
	if err != nil {
		a.cfg.Logger.WarnContext(r.Context(), "sign_in_refused", "reason", auth.Reason(err))
		a.cfg.Metrics.SignInEnded(r.Context(), signInOutcome(err))
		return err
	}
	if !a.cfg.Allowlist.AllowsWallet(string(address)) {
		a.cfg.Metrics.SignInEnded(r.Context(), instruments.SignInNotListed)
		return &apiError{Status: http.StatusForbidden, Code: "forbidden", Message: "Wallet is not on the allowlist"}
	}
	token, err := a.cfg.Tokens.Sign(string(address), roleTeam)
	if err != nil {
		return err
	}
	a.cfg.Metrics.SignInEnded(r.Context(), instruments.SignedIn)
	noStore(w)
	return a.writeJSON(w, http.StatusOK, struct {
		Token     string `json:"token"`
		Wallet    string `json:"wallet"`
		ExpiresIn string `json:"expiresIn"`
	}{token, string(address), "1h"})
}

// getVerify tells what authenticate has found in the token.
func (a *API) getVerify(w http.ResponseWriter, r *http.Request) error {
	if _, err := callerWallet(r); err != nil {
		return err
	}
	x := exchangeFrom(r.Context())
	return a.writeJSON(w, http.StatusOK, struct {
		Wallet string `json:"wallet"`
		Role   string `json:"role"`
		Exp    int64  `json:"exp"`
	}{x.identity.Wallet, x.identity.Role, x.tokenExpires.Unix()})
}

func noStore(w http.ResponseWriter) { w.Header()["Cache-Control"] = []string{"no-store"} }

// timestamp is written in UTC with milliseconds, as RFC 3339 has it.
type timestamp time.Time

const timestampLayout = "2006-01-02T15:04:05.000Z07:00"

// MarshalJSON implements json.Marshaler.
func (t timestamp) MarshalJSON() ([]byte, error) {
	return []byte(`"` + time.Time(t).UTC().Format(timestampLayout) + `"`), nil
}

func hasText(s string) bool { return strings.TrimSpace(s) != "" }
