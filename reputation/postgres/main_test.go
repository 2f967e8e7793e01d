package postgres_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"dixie/internal/pgtest"
	"dixie/reputation"
	"dixie/reputation/postgres"
)

//nolint:gochecknoglobals // The server that this package's tests share.
var server *pgtest.Pool

// childURL makes the test binary a process that records into the database of that URL until it is killed.
const childURL = "DIXIE_REPUTATION_TEST_URL"

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		os.Exit(child(url)) //nolint:forbidigo // A TestMain is a main function.
	}
	server = pgtest.Main(m)
	goleak.VerifyTestMain(server)
}

// open makes a pool on a migrated database of its own.
func open(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	return connect(tb, server.Migrated(tb))
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

// child records from several goroutines and prints the id of each event that was acknowledged.
func child(url string) int {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	service := reputation.NewService(postgres.New(pool), reputation.Config{})
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				r, err := service.Record(ctx, signal(fmt.Sprintf("agent-%d", rand.IntN(4)), rand.Float64()))
				if err != nil {
					return
				}
				mu.Lock()
				_, _ = fmt.Fprintln(os.Stdout, r.EventID)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return 0
}

// lines yields whole lines: what a killed process was in the middle of writing was not told to anybody.
func lines(r io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		reader := bufio.NewReader(r)
		for {
			line, err := reader.ReadString('\n')
			if err != nil || !yield(strings.TrimSuffix(line, "\n")) {
				return
			}
		}
	}
}
