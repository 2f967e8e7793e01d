package database_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dixie/database"
	"dixie/internal/pgtest"
)

//nolint:gochecknoglobals // The server that this package's tests share.
var server *pgtest.Pool

func TestMain(m *testing.M) {
	server = pgtest.Main(m)
	goleak.VerifyTestMain(server)
}

func TestOpen(t *testing.T) {
	t.Parallel()
	url := server.Database(t)
	for name, tc := range map[string]struct {
		cfg  database.Config
		want map[string]string
	}{
		"defaults":    {database.Config{URL: url}, map[string]string{"application_name": "dixie", "statement_timeout": "20s"}},
		"a name":      {database.Config{URL: url, Application: "bff", Size: 2}, map[string]string{"application_name": "bff"}},
		"maintenance": {database.Config{URL: url, StatementTimeout: -1}, map[string]string{"statement_timeout": "0"}},
		"the URL wins": {
			database.Config{URL: url + "&application_name=mine&statement_timeout=5000", Application: "bff"},
			map[string]string{"application_name": "mine", "statement_timeout": "5s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, err := database.Open(context.WithoutCancel(t.Context()), tc.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			got := map[string]string{}
			for setting := range tc.want {
				var value string
				if err := pool.QueryRow(t.Context(), "SHOW "+setting).Scan(&value); err != nil {
					t.Fatal(err)
				}
				got[setting] = value
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, cfg := range []database.Config{
		{}, {URL: "postgres://u:secret@%zz/"}, {URL: "postgres://h/", Size: 1}, {URL: "postgres://h/", Size: 101}, {URL: "postgres://h/", Size: -1},
	} {
		if _, err := database.Open(t.Context(), cfg); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
