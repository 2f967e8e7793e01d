package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"dixie/internal/auth"
)

// Nonces keeps sign-in nonces, each under the key siwe:nonce:{nonce}. It is safe for concurrent use. Their
// number is bounded by the limit on asking for them and their short life alone.
type Nonces struct{ client goredis.UniversalClient }

var _ auth.NonceStore = (*Nonces)(nil)

// NewNonces keeps nonces through client, which the caller closes.
func NewNonces(client goredis.UniversalClient) *Nonces { return &Nonces{client: client} }

// Put implements dixie.NonceStore.
func (n *Nonces) Put(ctx context.Context, nonce string, ttl time.Duration) error {
	if err := n.client.Set(ctx, nonceKey(nonce), 1, expiry(ttl)).Err(); err != nil {
		return fmt.Errorf("redis: put a nonce: %w", err)
	}
	return nil
}

// Take implements dixie.NonceStore.
func (n *Nonces) Take(ctx context.Context, nonce string) (bool, error) {
	err := n.client.GetDel(ctx, nonceKey(nonce)).Err()
	if errors.Is(err, goredis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("redis: take a nonce: %w", err)
	}
	return true, nil
}

func nonceKey(nonce string) string { return "siwe:nonce:" + nonce }

// expiry is a ttl as Redis takes it: in whole milliseconds, and never none.
func expiry(ttl time.Duration) time.Duration {
	return max(ttl.Truncate(time.Millisecond), time.Millisecond)
}
