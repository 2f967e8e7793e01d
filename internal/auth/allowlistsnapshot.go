package auth

import (
	"crypto/sha256"
	"crypto/subtle"
)

// AllowlistSnapshot is a list that does not change, made to be asked often. It is safe for concurrent use.
type AllowlistSnapshot struct {
	data    AllowlistData
	wallets map[string]struct{}
	keys    [][sha256.Size]byte
}

// NewAllowlistSnapshot makes one of a valid list (see [ParseAllowlist]), which is the snapshot's from then on.
func NewAllowlistSnapshot(data AllowlistData) *AllowlistSnapshot {
	s := &AllowlistSnapshot{
		data:    data,
		wallets: make(map[string]struct{}, len(data.Wallets)),
		keys:    make([][sha256.Size]byte, 0, len(data.APIKeys)),
	}
	for _, w := range data.Wallets {
		s.wallets[w] = struct{}{}
	}
	for _, k := range data.APIKeys {
		s.keys = append(s.keys, hashOf(k))
	}
	return s
}

// AllowsWallet says whether the EIP-55 address is listed.
func (s *AllowlistSnapshot) AllowsWallet(address string) bool {
	_, ok := s.wallets[address]
	return ok
}

// AllowsKey says whether the key is listed. It compares with every key, so that time does not tell which.
func (s *AllowlistSnapshot) AllowsKey(key string) bool {
	sum := hashOf(key)
	found := 0
	for i := range s.keys {
		found |= subtle.ConstantTimeCompare(sum[:], s.keys[i][:])
	}
	return found == 1
}

// List returns a copy of the list.
func (s *AllowlistSnapshot) List() AllowlistData { return s.data.clone() }
