package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"dixie/internal/auth"
	"dixie/spansanitizer"
)

// authenticate finds out who calls. It never refuses: a bad token counts as none, and what needs a
// caller says so further in.
func (a *API) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeFrom(r.Context())
		a.identify(r, x)
		x.owner = x.identity.Owner()
		next.ServeHTTP(w, r)
	})
}

// identify is authentication, inside its span.
func (a *API) identify(r *http.Request, x *exchange) {
	ctx, span := spansanitizer.StartSpan(r.Context(), a.cfg.Tracer, spansanitizer.Auth)
	defer span.End()
	kind, refused := a.checkCredential(r, x)
	if span == nil {
		return
	}
	span.SetAttributes(attribute.String(spansanitizer.AuthType, kind),
		attribute.String(spansanitizer.Wallet, x.identity.Wallet),
		attribute.String(spansanitizer.Tier, a.knownTier(ctx, x)))
	if refused != "" {
		span.Fail(refused)
	}
}

// unknownTier stands for a tier that nobody has asked for yet.
const unknownTier = "unknown"

// knownTier is the tier that is known without asking for the stake. What it finds is not looked up again.
func (a *API) knownTier(ctx context.Context, x *exchange) string {
	tier, ok := a.cfg.Tiers.Cached(ctx, x.identity.Wallet)
	if !ok {
		return unknownTier
	}
	x.tier, x.tierKnown = tier, true
	return tier.Tier.String()
}

// refusal says in a word why a credential counts as none.
type refusal string

func (e refusal) Error() string { return "credential refused: " + string(e) }

// checkCredential puts who calls into x, and says of what kind the credential is. If it was refused it also says
// why; of a token, the word for that stands for the kind.
func (a *API) checkCredential(r *http.Request, x *exchange) (kind string, refused refusal) {
	credential := bearer(r)
	switch {
	case credential == "":
		return "none", ""
	case strings.HasPrefix(credential, auth.APIKeyPrefix):
		if !a.cfg.Allowlist.AllowsKey(credential) {
			x.unknownKey = true
			return "api_key", "unknown key"
		}
		x.identity = auth.Identity{Kind: auth.APIKey, KeyHash: spansanitizer.Hash(credential)}
		return "api_key", ""
	case a.adminKey.Is(credential):
		x.identity = auth.Identity{Kind: auth.Admin}
		return "admin", ""
	}
	claims, err := a.cfg.Tokens.Verify(credential)
	if err != nil {
		word := auth.ErrorType(err)
		a.cfg.Logger.WarnContext(r.Context(), "jwt_verification_failed", "error_type", word)
		return word, refusal(word)
	}
	x.identity = auth.Identity{Kind: auth.Wallet, Wallet: claims.Wallet, Role: claims.Role}
	x.tokenExpires = claims.ExpiresAt
	return "jwt", ""
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
		answer := errForbidden
		switch x.identity.Kind {
		case auth.Wallet:
			allowed = a.cfg.Allowlist.AllowsWallet(x.identity.Wallet)
		case auth.APIKey, auth.Admin:
			allowed = true
		case auth.None:
			if !x.unknownKey {
				answer = errUnauthorized
			}
		}
		a.audit(x, r, allowed) //nolint:contextcheck // Its line of the log is about an earlier request.
		if !allowed {
			a.writeError(w, r, answer)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isExempt is about the first segment below /api/, whole: /api/healthy is not /api/health.
func isExempt(path string) bool {
	switch path {
	case "/api/reputation/population", "/api/openapi.yaml", metricsPath:
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
	a.cfg.Audit.Record(entry)
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
