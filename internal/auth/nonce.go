package auth

import (
	"container/list"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
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
	mu     sync.Mutex
	max    int
	unused map[string]*list.Element // GUARDED_BY(mu)
	order  list.List                // GUARDED_BY(mu); of heldNonce, oldest first
}

var _ NonceStore = (*MemoryNonces)(nil)

type heldNonce struct {
	nonce   string
	expires time.Time
}

// NewMemoryNonces keeps at most limit unused nonces (zero: [DefaultNonces]).
func NewMemoryNonces(limit int) *MemoryNonces {
	if limit <= 0 {
		limit = DefaultNonces
	}
	return &MemoryNonces{max: limit, unused: make(map[string]*list.Element)}
}

// Put implements [NonceStore].
func (m *MemoryNonces) Put(_ context.Context, nonce string, ttl time.Duration) error {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(nonce)
	// Every nonce lives equally long, so the oldest expires first.
	for oldest := m.order.Front(); oldest != nil; oldest = m.order.Front() {
		held, _ := oldest.Value.(heldNonce)
		if now.Before(held.expires) && m.order.Len() < m.max {
			break
		}
		m.drop(held.nonce)
	}
	m.unused[nonce] = m.order.PushBack(heldNonce{nonce, now.Add(ttl)})
	return nil
}

// Take implements [NonceStore].
func (m *MemoryNonces) Take(_ context.Context, nonce string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held, ok := m.drop(nonce)
	return ok && time.Now().Before(held.expires), nil
}

// drop forgets a nonce with its place, so that what was used takes none from what is unused.
func (m *MemoryNonces) drop(nonce string) (heldNonce, bool) {
	place, ok := m.unused[nonce]
	if !ok {
		return heldNonce{}, false
	}
	delete(m.unused, nonce)
	held, _ := m.order.Remove(place).(heldNonce)
	return held, true
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
