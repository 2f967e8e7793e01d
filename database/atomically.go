package database

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// tries bounds how often a transaction begins.
	tries    = 5
	tryPause = 20 * time.Millisecond
)

// Atomically is [Transact], which calls f again when another transaction got in the way, see [Clashed], or when
// the connection turns out to be dead before anything was sent: up to five times in all, a few milliseconds
// apart, and not after ctx has ended. The error is that of the last time.
func Atomically(ctx context.Context, pool *pgxpool.Pool, f func(pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := Transact(ctx, pool, f)
		again := pgconn.SafeToRetry(err) || Clashed(err)
		if err == nil || !again || try == tries {
			return err
		}
		pause := time.NewTimer(rand.N(time.Duration(try) * tryPause)) //nolint:gosec // Jitter is no secret.
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}
