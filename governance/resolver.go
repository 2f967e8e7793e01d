package governance

import (
	"context"
	"fmt"
	"math"
	"strings"
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
	// Staked answers with a finite number that is not negative; any other number is no answer, like an
	// error. It must return soon after ctx has ended.
	Staked(ctx context.Context, walletAddress string) (float64, error)
}

const (
	// DefaultTierTTL is how long a resolution is used again.
	DefaultTierTTL = 5 * time.Minute
	// failureTTL is how long a source that had no answer is not asked again for a wallet.
	failureTTL = 30 * time.Second
	// lookupTimeout bounds one question to the source, whoever waits for it.
	lookupTimeout = 5 * time.Second
)

// ResolverConfig says what a [Resolver] asks.
type ResolverConfig struct {
	// Stakes is asked for wallets that nothing else knows; nil knows nobody.
	Stakes StakeSource
	// Cache is shared between replicas; nil keeps 10,000 resolutions in memory.
	Cache TierCache
	// Allowlisted says whether a wallet is on the allowlist; nil is nobody.
	Allowlisted func(walletAddress string) bool
	// Admins are wallets, in any case, that are sovereign.
	Admins []string
	// TTL is how long a resolution is used again; 0 is [DefaultTierTTL], below it asks each time.
	TTL time.Duration
}

// Resolver finds the tier of a wallet: admin, cached, by stake, by allowlist, else observer. Concurrent
// questions about one wallet ask the source once.
type Resolver struct {
	cfg    ResolverConfig
	admins map[string]struct{} // In lower case.
	// failed remembers until when a source is not asked again for a wallet.
	failed *lru.Cache[string, time.Time]
	flight singleflight.Group
}

// NewResolver makes a resolver.
func NewResolver(cfg ResolverConfig) *Resolver {
	switch {
	case cfg.TTL < 0:
		cfg.Cache = noTierCache{}
	case cfg.Cache == nil:
		cfg.Cache = NewMemoryTierCache(0)
	}
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTierTTL
	}
	if cfg.Allowlisted == nil {
		cfg.Allowlisted = func(string) bool { return false }
	}
	r := &Resolver{cfg: cfg, admins: map[string]struct{}{}, failed: newLRU[time.Time](cachedWallets)}
	for _, a := range cfg.Admins {
		r.admins[strings.ToLower(a)] = struct{}{}
	}
	return r
}

// Resolve finds the tier of a wallet in EIP-55 form. It never fails: what cannot be found out counts for
// nothing. The empty wallet is an observer.
func (r *Resolver) Resolve(ctx context.Context, walletAddress string) Resolution {
	if res, ok := r.Cached(ctx, walletAddress); ok {
		return res
	}
	found := r.flight.DoChan(walletAddress, func() (any, error) {
		// Others wait for this answer too, so the first caller's going away must not spoil it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		return r.contain(ctx, walletAddress)
	})
	select {
	case result := <-found:
		if res, ok := result.Val.(Resolution); ok && result.Err == nil {
			return res
		}
	case <-ctx.Done():
	}
	return r.withoutStake(walletAddress)
}

// Cached answers without asking the source.
func (r *Resolver) Cached(ctx context.Context, walletAddress string) (Resolution, bool) {
	if walletAddress == "" {
		return Resolution{Observer, FromDefault}, true
	}
	if r.isAdmin(walletAddress) {
		return Resolution{Sovereign, FromAdmins}, true
	}
	res, ok, err := r.cfg.Cache.Get(ctx, walletAddress)
	if !ok || err != nil {
		return Resolution{}, false
	}
	// What the allowlist gave ends with the listing, not with the cache.
	if res.Source == FromAllowlist && !r.cfg.Allowlisted(walletAddress) {
		return Resolution{}, false
	}
	return res, true
}

// isAdmin ignores case, which in an address is a checksum and no more.
func (r *Resolver) isAdmin(walletAddress string) bool {
	if len(r.admins) == 0 {
		return false
	}
	_, ok := r.admins[strings.ToLower(walletAddress)]
	return ok
}

// contain is resolve for the goroutine of the flight, on which a panic would end the process. The source
// and the cache are the embedder's: if one panics, there is no answer, and none is asked for again at once.
func (r *Resolver) contain(ctx context.Context, walletAddress string) (res Resolution, err error) {
	defer func() {
		if v := recover(); v != nil {
			r.failed.Add(walletAddress, time.Now().Add(failureTTL))
			err = fmt.Errorf("governance: panic while resolving a tier: %T", v)
		}
	}()
	return r.resolve(ctx, walletAddress), nil
}

func (r *Resolver) resolve(ctx context.Context, walletAddress string) Resolution {
	if until, _ := r.failed.Get(walletAddress); !time.Now().Before(until) && r.cfg.Stakes != nil {
		stake, err := r.cfg.Stakes.Staked(ctx, walletAddress)
		if err == nil && stake >= 0 && !math.IsInf(stake, 1) {
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
