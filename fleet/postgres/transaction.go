package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dixie/database"
	"dixie/fleet"
)

const (
	// tries bounds how often a transaction begins that others got in the way of.
	tries    = 5
	tryPause = 20 * time.Millisecond
	// cleanupTimeout bounds what is done for a caller that has left.
	cleanupTimeout = 5 * time.Second
)

// verdict is an error that the store means, and not one of the database: it reaches the caller as it is.
type verdict struct{ err error }

func (v *verdict) Error() string { return v.err.Error() }

// Unwrap returns the error that the caller gets.
func (v *verdict) Unwrap() error { return v.err }

// atomically runs f in a transaction and commits what it did, unless it returns an error. f is called again
// when the database asked for it, or when the connection turns out to be dead before anything was sent.
func (s *Store) atomically(ctx context.Context, doing string, f func(pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := database.Transact(ctx, s.cfg.Pool, f)
		if err == nil {
			return nil
		}
		again := pgconn.SafeToRetry(err) && try == 1 || database.Clashed(err) && try < tries
		if !again || ctx.Err() != nil {
			return interpret(ctx, doing, err)
		}
		pause := time.NewTimer(rand.N(time.Duration(try) * tryPause)) //nolint:gosec // Jitter is no secret.
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// interpret gives an error the form that [fleet.Store] promises: a verdict as it is, what the caller's
// context ended, what the database refuses for good, and everything else as a store that cannot answer.
func interpret(ctx context.Context, doing string, err error) error {
	if v, ok := errors.AsType[*verdict](err); ok {
		return v.err
	}
	// The driver's error may not tell that it was the caller's context.
	switch ended := ctx.Err(); {
	case errors.Is(ended, context.Canceled):
		return fmt.Errorf("fleet/postgres: %s: %w: %w", doing, ended, err)
	case ended != nil:
		return fmt.Errorf("fleet/postgres: %s: %w: %w: %w", doing, fleet.ErrStoreUnavailable, ended, err)
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && isFinal(refused.Code) {
		return fmt.Errorf("fleet/postgres: %s: %w", doing, err)
	}
	return fmt.Errorf("fleet/postgres: %s: %w: %w", doing, fleet.ErrStoreUnavailable, database.Explain(err))
}

// isFinal says that the same statement will not do better later: its data is at fault.
func isFinal(code string) bool {
	return strings.HasPrefix(code, "22") || strings.HasPrefix(code, "23")
}
