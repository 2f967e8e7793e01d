package postgres_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"dixie/fleet"
	"dixie/fleet/postgres"
	"dixie/internal/pgtest"
)

//nolint:gochecknoglobals // The server that this package's tests share.
var server *pgtest.Pool

func TestMain(m *testing.M) {
	if url := os.Getenv(childDatabase); url != "" {
		_, _ = fmt.Fprintln(os.Stderr, child(url))
		os.Exit(1) //nolint:forbidigo // This process is the worker of a test and runs no tests.
	}
	server = pgtest.Main(m)
	goleak.VerifyTestMain(server)
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// quick has intervals that let a test see in seconds what takes longer in earnest.
func quick() postgres.Config {
	return postgres.Config{Lease: 3 * time.Second, RenewInterval: 200 * time.Millisecond, SweepInterval: 200 * time.Millisecond}
}

// open makes a store on a pool of its own to the database, and stops it when the test ends.
func open(tb testing.TB, url string, cfg postgres.Config) *postgres.Store {
	tb.Helper()
	cfg.Pool = connect(tb, url)
	store, err := postgres.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { stop(tb, store) })
	return store
}

func stop(tb testing.TB, store *postgres.Store) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
	defer cancel()
	if err := store.Stop(ctx); err != nil {
		tb.Errorf("Stop: %v", err)
	}
}

func connect(tb testing.TB, url string) *pgxpool.Pool {
	tb.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(tb.Context()), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

func everyone() fleet.Scope { return fleet.Scope{All: true} }
