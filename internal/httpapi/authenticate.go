package httpapi

import (
	"net/http"
	"strings"
	"time"

	"dixie/internal/auth"
	"dixie/internal/wallet"
)

// authenticate finds out who calls. It never refuses: a bad token counts as none, and what needs a
// caller says so further in.
func (a *API) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeFrom(r.Context())
		credential := bearer(r)
		switch {
		case credential == "":
		case strings.HasPrefix(credential, auth.APIKeyPrefix):
			if a.cfg.Allowlist.AllowsKey(credential) {
				x.identity = auth.Identity{Kind: auth.APIKey, KeyHash: wallet.ShortHash(credential)}
			} else {
				x.unknownKey = true
			}
		case a.adminKey.Is(credential):
			x.identity = auth.Identity{Kind: auth.Admin}
		default:
			claims, err := a.cfg.Tokens.Verify(credential)
			if err != nil {
				a.cfg.Logger.WarnContext(r.Context(), "jwt_verification_failed",
					"error_type", auth.ErrorType(err), "request_id", x.requestID)
				break
			}
			x.identity = auth.Identity{Kind: auth.Wallet, Wallet: claims.Wallet, Role: claims.Role}
			x.tokenExpires = claims.ExpiresAt
		}
		x.owner = x.identity.Owner()
		next.ServeHTTP(w, r)
	})
}

// bearer returns the credential of the Authorization header, with or without the word Bearer.
func bearer(r *http.Request) string {
	const scheme = "bearer "
	h := r.Header.Get("Authorization")
	if len(h) >= len(scheme) && strings.EqualFold(h[:len(scheme)], scheme) {
		h = h[len(scheme):]
	}
	return strings.TrimSpace(h)
}

// admitListed lets through who is on the allowlist, and everyone on the paths that need no caller or
// have a credential of their own. The list is asked on each request: whoever is taken off it is out.
func (a *API) admitListed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isExempt(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		x := exchangeFrom(r.Context())
		allowed := false
		refusal := errForbidden
		switch x.identity.Kind {
		case auth.Wallet:
			allowed = a.cfg.Allowlist.AllowsWallet(x.identity.Wallet)
		case auth.APIKey, auth.Admin:
			allowed = true
		case auth.None:
			if !x.unknownKey {
				refusal = errUnauthorized
			}
		}
		a.audit(x, r, allowed)
		if !allowed {
			a.writeError(w, r, refusal)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isExempt is about the first segment below /api/, whole: /api/healthy is not /api/health.
func isExempt(path string) bool {
	switch path {
	case "/api/reputation/population", "/api/openapi.yaml":
		return true
	}
	segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/api/"), "/")
	switch segment {
	case "health", "auth", "admin":
		return true
	default:
		return false
	}
}

func (a *API) audit(x *exchange, r *http.Request, allowed bool) {
	entry := auth.AuditEntry{
		Time:      time.Now(),
		RequestID: x.requestID,
		Kind:      x.identity.Kind,
		Owner:     x.owner,
		Allowed:   allowed,
		Endpoint:  a.routeOf(x, r),
		IP:        x.address(),
	}
	a.cfg.Audit.Record(r.Context(), entry)
}

// requireAdmin opens a route to the admin key alone: 401 without a credential, 403 for a wrong one and
// when no admin key is configured.
func (a *API) requireAdmin(next handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		switch {
		case bearer(r) == "" && a.cfg.AdminKey != "":
			return errUnauthorized
		case exchangeFrom(r.Context()).identity.Kind != auth.Admin:
			return errForbidden
		}
		return next(w, r)
	}
}

// callerWallet is the wallet that signed in, or a 401.
func callerWallet(r *http.Request) (string, error) {
	x := exchangeFrom(r.Context())
	if x.identity.Kind != auth.Wallet {
		return "", errUnauthorized
	}
	return x.identity.Wallet, nil
}

// callerOwner names the wallet or the API key that calls, or is a 401.
func callerOwner(r *http.Request) (string, error) {
	x := exchangeFrom(r.Context())
	if x.identity.Kind != auth.Wallet && x.identity.Kind != auth.APIKey {
		return "", errUnauthorized
	}
	return x.owner, nil
}
