package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// begin also ends a transaction whose client is cut off in the middle of it, with the locks it holds.
	begin = `BEGIN; SET LOCAL idle_in_transaction_session_timeout = '10s'`
	// rollbackTimeout bounds what is done for a caller that has left.
	rollbackTimeout = 5 * time.Second
)

// Transact runs f in a transaction and commits what it did, unless f returns an error, which is returned as it
// is. The server gives up a transaction whose client is silent in the middle of it for ten seconds. An error of
// the beginning or of the commit wraps that of the driver; after one of the commit it is not known whether it
// happened. Nothing is tried again, see [Atomically].
func Transact(ctx context.Context, pool *pgxpool.Pool, f func(pgx.Tx) error) error {
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: begin})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		// After the commit this does nothing. A connection that cannot roll back is closed by the pool.
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = tx.Rollback(cleanup)
	}()
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Clashed says that a transaction was rolled back because of another one, by a serialization failure or a
// deadlock, and may well succeed now.
func Clashed(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (refused.Code == "40001" || refused.Code == "40P01")
}
