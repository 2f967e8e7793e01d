package database_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dixie/database"
)

// unsent is an error of a connection that was dead before anything was sent.
type unsent struct{ error }

func (unsent) SafeToRetry() bool { return true }

func TestAtomically(t *testing.T) {
	t.Parallel()
	pool, err := database.Open(context.WithoutCancel(t.Context()), database.Config{URL: server.Database(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	clash, refusal, dead := &pgconn.PgError{Code: "40001"}, errors.New("not this"), unsent{errors.New("dead")}
	for name, c := range map[string]struct {
		// fails are the errors of the first calls, those after them succeed.
		fails []error
		calls int
		want  error
	}{
		"no error":        {nil, 1, nil},
		"a refusal":       {[]error{refusal}, 1, refusal},
		"a clash":         {[]error{clash}, 2, nil},
		"dead":            {[]error{dead}, 2, nil},
		"both":            {[]error{dead, clash, dead, clash}, 5, nil},
		"a refusal later": {[]error{dead, clash, refusal}, 3, refusal},
		"too often":       {[]error{clash, dead, clash, dead, clash}, 5, clash},
	} {
		calls := 0
		err := database.Atomically(t.Context(), pool, func(pgx.Tx) error {
			calls++
			if calls > len(c.fails) {
				return nil
			}
			return c.fails[calls-1]
		})
		if !errors.Is(err, c.want) || calls != c.calls {
			t.Errorf("%s: %v after %d calls, want %v after %d", name, err, calls, c.want, c.calls)
		}
	}
	for name, when := range map[string]int{"before": 0, "in the first call": 1} {
		ctx, cancel := context.WithCancel(t.Context())
		if when == 0 {
			cancel()
		}
		calls := 0
		err := database.Atomically(ctx, pool, func(pgx.Tx) error {
			calls++
			cancel()
			return clash
		})
		if err == nil || calls != when {
			t.Errorf("a context that ends %s: %v after %d calls, want %d", name, err, calls, when)
		}
		cancel()
	}
}
