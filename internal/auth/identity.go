// Package auth decides who a caller is and whether the caller may come in: sign-in with Ethereum
// (EIP-4361), bearer tokens (RFC 7519), the allowlist of wallets and API keys, WebSocket tickets and
// the audit of access decisions. Everything in it is safe for concurrent use. Whatever it refuses it
// refuses with an error that says nothing to the caller; the reason is for the log.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"
)

// Kind is the kind of credential that was verified.
type Kind int

// The kinds of credential.
const (
	None Kind = iota
	Wallet
	APIKey
	Admin
)

// String is the word that the audit shows.
func (k Kind) String() string {
	switch k {
	case Wallet:
		return "jwt_wallet"
	case APIKey:
		return "api_key"
	case Admin:
		return "admin"
	case None:
	}
	return "none"
}

// Identity is a caller whose credential was verified.
type Identity struct {
	Kind Kind
	// Wallet is the EIP-55 address, of kind Wallet only.
	Wallet string
	// KeyHash is the short hash of the key, of kind APIKey only.
	KeyHash string
	// Role is the role claim of the token, of kind Wallet only.
	Role string
}

// walletOwner begins the name of an owner that is a wallet.
const walletOwner = "wallet:"

// Owner names the identity as an owner of sessions and a payer of limits; empty for none.
func (i Identity) Owner() string {
	switch i.Kind {
	case Wallet:
		return walletOwner + i.Wallet
	case APIKey:
		return "key:" + i.KeyHash
	case Admin:
		return "admin"
	case None:
	}
	return ""
}

// CheckAdminKey refuses admin keys that could never open anything: one that begins as an API key is looked
// up on the allowlist, and white space at either end does not survive a header. Empty is no key, which
// is allowed.
func CheckAdminKey(key string) error {
	switch {
	case strings.HasPrefix(key, APIKeyPrefix):
		return errors.New("auth: the admin key must not begin with " + APIKeyPrefix)
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("auth: the admin key must be printable ASCII without spaces")
	}
	return nil
}

// Secret is a secret that others are compared with. It keeps a hash, which is made once. The zero value is no secret.
type Secret struct {
	hash [sha256.Size]byte
	set  bool
}

// NewSecret makes one of a text; the empty text is no secret.
func NewSecret(text string) Secret { return Secret{hash: hashOf(text), set: text != ""} }

// Is compares in a time that tells neither content nor length of the secret. Nothing is no secret.
func (s Secret) Is(text string) bool {
	hash := hashOf(text)
	return s.set && subtle.ConstantTimeCompare(hash[:], s.hash[:]) == 1
}

// hashOf is the SHA-256 of a credential, whose copy stays on the stack when it has a usual size.
func hashOf(text string) [sha256.Size]byte {
	const usual = 512
	return sha256.Sum256(append(make([]byte, 0, usual), text...))
}
