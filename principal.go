package dixie

import (
	"context"

	"dixie/internal/auth"
	"dixie/internal/httpapi"
)

// PrincipalKind is the kind of credential by which a caller was recognised.
type PrincipalKind string

// The kinds of principal.
const (
	// PrincipalNone called without a credential that holds.
	PrincipalNone PrincipalKind = "none"
	// PrincipalWallet signed in with a wallet.
	PrincipalWallet PrincipalKind = "wallet"
	// PrincipalAPIKey is a service with an allowlisted API key.
	PrincipalAPIKey PrincipalKind = "api_key"
	// PrincipalAdmin has the admin key.
	PrincipalAdmin PrincipalKind = "admin"
)

// Principal is who calls, known from a verified credential and from nothing else.
type Principal struct {
	Kind PrincipalKind
	// Wallet is the EIP-55 address of a [PrincipalWallet].
	Wallet string
	// KeyHash tells API keys apart without telling them: 12 hex digits, of a [PrincipalAPIKey].
	KeyHash string
	// Role is the role in the token of a [PrincipalWallet].
	Role string
}

// PrincipalFrom returns who calls, for a check given to [WithPayment]. In a context that does not come
// from a Handler it is [PrincipalNone].
func PrincipalFrom(ctx context.Context) Principal {
	identity := httpapi.IdentityFrom(ctx)
	p := Principal{Kind: PrincipalNone, Wallet: identity.Wallet, KeyHash: identity.KeyHash, Role: identity.Role}
	switch identity.Kind {
	case auth.Wallet:
		p.Kind = PrincipalWallet
	case auth.APIKey:
		p.Kind = PrincipalAPIKey
	case auth.Admin:
		p.Kind = PrincipalAdmin
	case auth.None:
	}
	return p
}
