package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// NonceTTL is how long a nonce can be used.
const NonceTTL = 5 * time.Minute

// DefaultNonces bounds the unused nonces that [NewMemoryNonces] keeps when it is given zero.
const DefaultNonces = 10_000

// ErrNonceStore says that the nonce store is out of order or full, so that nobody can sign in.
var ErrNonceStore = errors.New("auth: nonce store unavailable")

// NonceStore remembers unused nonces. Implementations are safe for concurrent use.
type NonceStore interface {
	// Put remembers a nonce for ttl.
	Put(ctx context.Context, nonce string, ttl time.Duration) error
	// Take forgets the nonce and says whether it was there and unexpired. Of two callers with the
	// same nonce exactly one gets true.
	Take(ctx context.Context, nonce string) (bool, error)
}

// MemoryNonces keeps nonces in the process. When it is full, the oldest unused nonce makes room: the
// limit on nonces per address keeps one caller from driving out the others.
type MemoryNonces struct {
	mu sync.Mutex
	// unused has when each expires, oldest first: nothing is looked up but to be removed.
	unused *simplelru.LRU[string, time.Time] // GUARDED_BY(mu)
}

var _ NonceStore = (*MemoryNonces)(nil)

// NewMemoryNonces keeps at most limit unused nonces (zero: [DefaultNonces]).
func NewMemoryNonces(limit int) *MemoryNonces {
	if limit <= 0 {
		limit = DefaultNonces
	}
	unused, _ := simplelru.NewLRU[string, time.Time](limit, nil) // It fails on a size of zero or less, and on nothing else.
	return &MemoryNonces{unused: unused}
}

// Put implements [NonceStore].
func (m *MemoryNonces) Put(_ context.Context, nonce string, ttl time.Duration) error {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	// Every nonce lives equally long, so the oldest expires first.
	for _, expires, ok := m.unused.GetOldest(); ok && !now.Before(expires); _, expires, ok = m.unused.GetOldest() {
		m.unused.RemoveOldest()
	}
	m.unused.Add(nonce, now.Add(ttl))
	return nil
}

// Take implements [NonceStore]. What was used takes no place from what is unused.
func (m *MemoryNonces) Take(_ context.Context, nonce string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	expires, ok := m.unused.Peek(nonce)
	m.unused.Remove(nonce)
	return ok && time.Now().Before(expires), nil
}

const (
	alphanumerics = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	nonceLength   = 32
)

// newNonce draws 32 of 62 characters, about 190 bits. Bytes beyond the largest multiple of 62 are
// thrown away, so that every character is equally likely.
func newNonce() (string, error) {
	const fair = 256 - 256%len(alphanumerics)
	nonce := make([]byte, 0, nonceLength)
	var random [2 * nonceLength]byte
	for len(nonce) < nonceLength {
		if _, err := rand.Read(random[:]); err != nil {
			return "", fmt.Errorf("auth: random nonce: %w", err)
		}
		for _, b := range random {
			if int(b) < fair && len(nonce) < nonceLength {
				nonce = append(nonce, alphanumerics[int(b)%len(alphanumerics)])
			}
		}
	}
	return string(nonce), nil
}
