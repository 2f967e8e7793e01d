package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dixie/database"
	"dixie/fleet"
)

// cleanupTimeout bounds what is done for a caller that has left.
const cleanupTimeout = 5 * time.Second

// verdict is an error that the store means, and not one of the database: it reaches the caller as it is.
type verdict struct{ err error }

func (v *verdict) Error() string { return v.err.Error() }

// Unwrap returns the error that the caller gets.
func (v *verdict) Unwrap() error { return v.err }

// atomically is [database.Atomically], with the error as [interpret] has it.
func (s *Store) atomically(ctx context.Context, doing string, f func(pgx.Tx) error) error {
	if err := database.Atomically(ctx, s.cfg.Pool, f); err != nil {
		return interpret(ctx, doing, err)
	}
	return nil
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
