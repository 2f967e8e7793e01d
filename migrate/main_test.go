package migrate_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"dixie/internal/pgtest"
	"dixie/migrate"
)

//nolint:gochecknoglobals // The server that this package's tests share.
var postgres *pgtest.Pool

// childURL makes the test binary a process that migrates the database of that URL and nothing else.
const childURL = "DIXIE_MIGRATE_TEST_URL"

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		os.Exit(child(url)) //nolint:forbidigo // A TestMain is a main function.
	}
	postgres = pgtest.Main(m)
	goleak.VerifyTestMain(postgres)
}

// child migrates as a replica does at its start, and prints how many steps it took.
func child(url string) int {
	m, err := migrate.New(url, migrate.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	result, err := m.Up(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = fmt.Fprintln(os.Stdout, len(result.Steps))
	return 0
}
