package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dixie/fleet"
	"dixie/fleet/postgres"
)

// TestDeadlock has two transactions lock the same two rows in opposite order.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	pool := connect(t, url)
	store := open(t, url, postgres.Config{})
	mustExec(t, pool, `CREATE TABLE pair (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)`)
	mustExec(t, pool, `INSERT INTO pair VALUES (0), (1)`)
	var first, all sync.WaitGroup
	first.Add(2)
	for i := range 2 {
		all.Go(func() {
			again := false
			err := store.Atomically(t.Context(), func(tx pgx.Tx) error {
				for k := range 2 {
					if _, err := tx.Exec(t.Context(), `UPDATE pair SET n = n + 1 WHERE id = $1`, (i+k)%2); err != nil {
						return err
					}
					if k == 0 && !again {
						again = true
						first.Done()
						first.Wait()
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("transaction %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if sum := count(t, pool, `SELECT sum(n) FROM pair`); sum != 4 {
		t.Errorf("sum %d, want 4: two transactions of two", sum)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	store := open(t, server.Migrated(t), postgres.Config{})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		err     error
		is, not error
		calls   int
	}{
		"clashes end somewhere": {t.Context(), &pgconn.PgError{Code: "40001"}, fleet.ErrStoreUnavailable, context.Canceled, 5},
		"shutting down":         {t.Context(), &pgconn.PgError{Code: "57P01"}, fleet.ErrStoreUnavailable, context.Canceled, 1},
		"bad data":              {t.Context(), &pgconn.PgError{Code: "22P05"}, nil, fleet.ErrStoreUnavailable, 1},
		"cancelled":             {cancelled, nil, context.Canceled, fleet.ErrStoreUnavailable, 0},
	} {
		calls := 0
		err := store.Atomically(c.ctx, func(pgx.Tx) error {
			calls++
			return c.err
		})
		if err == nil || c.is != nil && !errors.Is(err, c.is) || errors.Is(err, c.not) || calls != c.calls {
			t.Errorf("%s: %v after %d calls", name, err, calls)
		}
	}
}
