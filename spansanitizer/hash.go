package spansanitizer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// hashLength is how many hexadecimal digits of a hash are kept.
const hashLength = 12

// Hash returns the first 12 hexadecimal digits of the SHA-256 of s. Whoever has a list of all wallets can
// look one up by hashing them; a [Policy] with a key prevents that.
func Hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return short(&sum)
}

// Hash is the package's [Hash], or with [Config.HashKey] the same digits of the HMAC-SHA-256 under that key.
func (p *Policy) Hash(s string) string {
	if p == nil || len(p.hashKey) == 0 {
		return Hash(s)
	}
	mac := hmac.New(sha256.New, p.hashKey)
	mac.Write([]byte(s))
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	return short(&sum)
}

func short(sum *[sha256.Size]byte) string {
	var digits [hashLength]byte
	hex.Encode(digits[:], sum[:hashLength/2])
	return string(digits[:])
}

// isHash tells whether s is 12 lower-case hexadecimal digits.
func isHash(s string) bool {
	if len(s) != hashLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
