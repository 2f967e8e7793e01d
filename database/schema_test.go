package database_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"dixie/database"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	pool, err := database.Open(context.WithoutCancel(t.Context()), database.Config{URL: server.Database(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	const advice = "the schema is not that of this version: run Up of a migrate.Migrator: "
	for statement, explained := range map[string]bool{
		"SELECT 1 FROM absent":               true,
		"SELECT absent FROM pg_class":        true,
		"SELECT 1/0":                         false,
		"SELECT this is not SQL":             false,
		"SELECT 1 FROM pg_class WHERE 'x'":   false,
		"SELECT 1 FROM pg_class LIMIT (-1)":  false,
		"SELECT set_config('absent', '', 1)": false,
	} {
		_, refused := pool.Exec(t.Context(), statement)
		refused = fmt.Errorf("ask: %w", refused)
		got, want := database.Explain(refused), refused.Error()
		if explained {
			want = advice + want
		}
		if _, ok := errors.AsType[*pgconn.PgError](got); got.Error() != want || !ok {
			t.Errorf("%s: %v, want %s", statement, got, want)
		}
	}
	for _, err := range []error{nil, io.EOF} {
		if got := database.Explain(err); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}
