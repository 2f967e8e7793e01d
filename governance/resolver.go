package governance

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// Source is where a tier came from.
type Source string

// The sources.
const (
	// FromStake is the wallet's stake.
	FromStake Source = "freeside"
	// FromAllowlist is the allowlist, for wallets whose stake is not known.
	FromAllowlist Source = "legacy_allowlist"
	// FromAdmins is the embedder's list of admins.
	FromAdmins Source = "admin"
	// FromDefault is nothing: the lowest tier.
	FromDefault Source = "default"
)

// Resolution is a tier and where it came from.
type Resolution struct {
	Tier   Tier
	Source Source
}

// StakeSource tells how much a wallet has staked, in BGT. Implementations are safe for concurrent use.
type StakeSource interface {
	Staked(ctx context.Context, walletAddress string) (float64, error)
}

// TierCache keeps resolutions. Implementations are safe for concurrent use. Its errors never fail a
// resolution: a cache that is away is a cache that misses.
type TierCache interface {
	Get(ctx context.Context, walletAddress string) (Resolution, bool, error)
	Put(ctx context.Context, walletAddress string, r Resolution, ttl time.Duration) error
}

const (
	// DefaultTierTTL is how long a resolution is used again.
	DefaultTierTTL = 5 * time.Minute
	// failureTTL is how long a source that had no answer is not asked again for a wallet.
	failureTTL = 30 * time.Second
	// lookupTimeout bounds one question to the source, whoever waits for it.
	lookupTimeout = 5 * time.Second
	cachedWallets = 10_000
)

// ResolverConfig says what a [Resolver] asks.
type ResolverConfig struct {
	// Stakes is asked for wallets that nothing else knows; nil knows nobody.
	Stakes StakeSource
	// Cache is shared between replicas; nil keeps 10,000 resolutions in memory.
	Cache TierCache
	// Allowlisted says whether a wallet is on the allowlist; nil is nobody.
	Allowlisted func(walletAddress string) bool
	// Admins are wallets, in EIP-55 form, that are sovereign.
	Admins []string
	// TTL is how long a resolution is used again; 0 is [DefaultTierTTL].
	TTL time.Duration
}

// Resolver finds the tier of a wallet: admin, cached, by stake, by allowlist, else observer. Concurrent
// questions about one wallet ask the source once.
type Resolver struct {
	cfg    ResolverConfig
	admins map[string]struct{}
	// failed remembers until when a source is not asked again for a wallet.
	failed *lru.Cache[string, time.Time]
	flight singleflight.Group
}

// NewResolver makes a resolver.
func NewResolver(cfg ResolverConfig) *Resolver {
	if cfg.TTL <= 0 {
		cfg.TTL = DefaultTierTTL
	}
	if cfg.Cache == nil {
		cfg.Cache = NewMemoryTierCache(0)
	}
	if cfg.Allowlisted == nil {
		cfg.Allowlisted = func(string) bool { return false }
	}
	r := &Resolver{cfg: cfg, admins: map[string]struct{}{}, failed: newLRU[time.Time](cachedWallets)}
	for _, a := range cfg.Admins {
		r.admins[a] = struct{}{}
	}
	return r
}

// Resolve finds the tier of a wallet in EIP-55 form. It never fails: what cannot be found out counts for
// nothing. The empty wallet is an observer.
func (r *Resolver) Resolve(ctx context.Context, walletAddress string) Resolution {
	if walletAddress == "" {
		return Resolution{Observer, FromDefault}
	}
	if res, ok := r.Cached(ctx, walletAddress); ok {
		return res
	}
	found := r.flight.DoChan(walletAddress, func() (any, error) {
		// Others wait for this answer too, so the first caller's going away must not spoil it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		return r.resolve(ctx, walletAddress), nil
	})
	select {
	case result := <-found:
		if res, ok := result.Val.(Resolution); ok {
			return res
		}
	case <-ctx.Done():
	}
	return r.withoutStake(walletAddress)
}

// Cached answers without asking the source.
func (r *Resolver) Cached(ctx context.Context, walletAddress string) (Resolution, bool) {
	if _, ok := r.admins[walletAddress]; ok {
		return Resolution{Sovereign, FromAdmins}, true
	}
	res, ok, err := r.cfg.Cache.Get(ctx, walletAddress)
	return res, ok && err == nil
}

func (r *Resolver) resolve(ctx context.Context, walletAddress string) Resolution {
	if until, _ := r.failed.Get(walletAddress); time.Now().After(until) && r.cfg.Stakes != nil {
		stake, err := r.cfg.Stakes.Staked(ctx, walletAddress)
		if err == nil {
			return r.remember(ctx, walletAddress, Resolution{TierForStake(stake), FromStake})
		}
		r.failed.Add(walletAddress, time.Now().Add(failureTTL))
	}
	res := r.withoutStake(walletAddress)
	if res.Source == FromAllowlist {
		r.remember(ctx, walletAddress, res)
	}
	return res
}

func (r *Resolver) remember(ctx context.Context, walletAddress string, res Resolution) Resolution {
	_ = r.cfg.Cache.Put(ctx, walletAddress, res, r.cfg.TTL) // See TierCache.
	return res
}

func (r *Resolver) withoutStake(walletAddress string) Resolution {
	if r.cfg.Allowlisted(walletAddress) {
		return Resolution{Architect, FromAllowlist}
	}
	return Resolution{Observer, FromDefault}
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

// newLRU makes a cache of a size that is known to be above zero, the only thing that can be wrong.
func newLRU[V any](size int) *lru.Cache[string, V] {
	cache, err := lru.New[string, V](size)
	if err != nil {
		cache, _ = lru.New[string, V](cachedWallets)
	}
	return cache
}
