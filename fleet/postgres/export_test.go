package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Atomically gives tests a transaction.
func (s *Store) Atomically(ctx context.Context, f func(pgx.Tx) error) error {
	return s.atomically(ctx, "test", f)
}
