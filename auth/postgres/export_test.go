package postgres

import (
	"context"
	"time"
)

// OpenRereading is [Open] with another time between two readings of the same version.
func OpenRereading(ctx context.Context, cfg Config, reread time.Duration) (*Allowlist, error) {
	return open(ctx, cfg, reread)
}
