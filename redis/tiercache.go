package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"dixie/governance"
)

// TierCache keeps the tiers of wallets as JSON under the key conviction:{wallet}. It is safe for
// concurrent use. What it finds there and would not have written itself is a miss.
type TierCache struct{ client goredis.UniversalClient }

var _ governance.TierCache = (*TierCache)(nil)

// longestTier bounds what is read of a key.
const longestTier = 256

// cachedTier is the value of a key. Its fields are texts, so that what is missing or null is seen.
type cachedTier struct {
	Tier     string `json:"tier"`
	Source   string `json:"source"`
	CachedAt string `json:"cachedAt"`
}

// NewTierCache keeps tiers through client, which the caller closes.
func NewTierCache(client goredis.UniversalClient) *TierCache { return &TierCache{client: client} }

// Get implements [governance.TierCache].
func (c *TierCache) Get(ctx context.Context, walletAddress string) (governance.Resolution, bool, error) {
	text, err := c.client.GetRange(ctx, tierKey(walletAddress), 0, longestTier).Bytes()
	if goredis.HasErrorPrefix(err, "WRONGTYPE") {
		return governance.Resolution{}, false, nil
	}
	if err != nil {
		return governance.Resolution{}, false, fmt.Errorf("redis: get a tier: %w", err)
	}
	r, ok := parseTier(text)
	return r, ok, nil
}

// Put implements [governance.TierCache]. It does not keep what [governance.FromAdmins] says: that is
// configured where it counts, and must not reach further than its configuration.
func (c *TierCache) Put(ctx context.Context, walletAddress string, r governance.Resolution, ttl time.Duration) error {
	if !cacheable(r) {
		return nil
	}
	text, err := json.Marshal(cachedTier{r.Tier.String(), string(r.Source), time.Now().UTC().Format(time.RFC3339)})
	if err == nil {
		err = c.client.Set(ctx, tierKey(walletAddress), text, expiry(ttl)).Err()
	}
	if err != nil {
		return fmt.Errorf("redis: put a tier: %w", err)
	}
	return nil
}

func parseTier(text []byte) (governance.Resolution, bool) {
	var cached cachedTier
	if json.Unmarshal(text, &cached) != nil {
		return governance.Resolution{}, false
	}
	if _, err := time.Parse(time.RFC3339, cached.CachedAt); err != nil {
		return governance.Resolution{}, false
	}
	tier, err := governance.ParseTier(cached.Tier)
	r := governance.Resolution{Tier: tier, Source: governance.Source(cached.Source)}
	if err != nil || !cacheable(r) {
		return governance.Resolution{}, false
	}
	return r, true
}

// cacheable says whether the tier is one that the source gives.
func cacheable(r governance.Resolution) bool {
	switch r.Source {
	case governance.FromStake:
		return r.Tier >= governance.Observer && r.Tier <= governance.Sovereign
	case governance.FromAllowlist:
		return r.Tier == governance.Architect
	case governance.FromDefault:
		return r.Tier == governance.Observer
	case governance.FromAdmins:
	}
	return false
}

func tierKey(walletAddress string) string { return "conviction:" + walletAddress }
