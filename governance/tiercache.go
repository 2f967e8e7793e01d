package governance

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// cachedWallets bounds what is remembered of wallets: anyone who may sign in makes an entry.
const cachedWallets = 10_000

// TierCache keeps resolutions. Implementations are safe for concurrent use. Its errors never fail a
// resolution: a cache that is away is a cache that misses.
type TierCache interface {
	Get(ctx context.Context, walletAddress string) (Resolution, bool, error)
	Put(ctx context.Context, walletAddress string, r Resolution, ttl time.Duration) error
}

// MemoryTierCache keeps resolutions in the process; the least recently used goes first.
type MemoryTierCache struct {
	entries *lru.Cache[string, timed]
}

type timed struct {
	resolution Resolution
	expires    time.Time
}

var _ TierCache = (*MemoryTierCache)(nil)

// NewMemoryTierCache keeps at most wallets entries (zero: 10,000).
func NewMemoryTierCache(wallets int) *MemoryTierCache {
	if wallets <= 0 {
		wallets = cachedWallets
	}
	return &MemoryTierCache{entries: newLRU[timed](wallets)}
}

// Get implements [TierCache].
func (m *MemoryTierCache) Get(_ context.Context, walletAddress string) (Resolution, bool, error) {
	e, ok := m.entries.Get(walletAddress)
	return e.resolution, ok && time.Now().Before(e.expires), nil
}

// Put implements [TierCache].
func (m *MemoryTierCache) Put(_ context.Context, walletAddress string, r Resolution, ttl time.Duration) error {
	m.entries.Add(walletAddress, timed{r, time.Now().Add(ttl)})
	return nil
}

// newLRU makes a cache of a size above zero. Entries expire when they are read: the variant of the library
// that expires them itself has a goroutine that nothing stops.
func newLRU[V any](size int) *lru.Cache[string, V] {
	cache, _ := lru.New[string, V](size) // It fails on a size of zero or less, and on nothing else.
	return cache
}

// noTierCache remembers nothing.
type noTierCache struct{}

func (noTierCache) Get(context.Context, string) (Resolution, bool, error) {
	return Resolution{}, false, nil
}

func (noTierCache) Put(context.Context, string, Resolution, time.Duration) error { return nil }
