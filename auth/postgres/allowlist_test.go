package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"dixie/auth/postgres"
	"dixie/internal/auth"
	"dixie/internal/auth/authtest"
)

func TestAllowlist(t *testing.T) {
	t.Parallel()
	authtest.RunAllowlist(t, func(t *testing.T, wallets, keys []string) auth.Allowlist {
		t.Helper()
		return open(t, postgres.Config{Pool: pool(t, server.Migrated(t)), SeedFile: authtest.WriteAllowlist(t, wallets, keys)})
	})
}

// TestReplicas is decision 21: whatever one replica, or somebody by hand, makes of the list counts at the
// other within a second. The one replica only listens and the other one only polls, in effect.
func TestReplicas(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		poll  time.Duration
		quiet bool
	}{
		"by notification": {poll: time.Hour},
		"by polling":      {quiet: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, promised := server.Migrated(t), newPromises(t)
			if tc.quiet {
				psql(t, url, `CREATE OR REPLACE FUNCTION allowlist_changes() RETURNS trigger LANGUAGE plpgsql AS
					'BEGIN UPDATE allowlist_meta SET version = version + 1; RETURN NULL; END'`)
			}
			one := open(t, postgres.Config{Pool: pool(t, url)})
			heard := &listens{}
			other := open(t, postgres.Config{Pool: pool(t, url, heard.counted), PollInterval: tc.poll})
			heard.await(t, 1)

			add(t, one, alice, bob, carol, key)
			promised.await("added by the other replica", func() bool { return other.AllowsWallet(alice) && other.AllowsKey(key) })
			remove(t, one, alice)
			promised.await("removed by the other replica", func() bool { return !other.AllowsWallet(alice) })
			psql(t, url, `DELETE FROM allowlist_entries WHERE value = $1`, key)
			promised.await("deleted by hand", func() bool { return !other.AllowsKey(key) })
			psql(t, url, `INSERT INTO allowlist_entries (kind, value) VALUES ('wallet', $1)`, strings.ToLower(alice))
			promised.await("inserted by hand, in lower case", func() bool { return other.AllowsWallet(alice) })
			if diff := cmp.Diff([]string{bob, carol, alice}, other.List().Wallets); diff != "" {
				t.Error(diff)
			}
			// Adding it again does not list it twice, and removing it removes it.
			add(t, other, alice)
			remove(t, other, strings.ToLower(alice))
			promised.await("removed by the first replica", func() bool { return !one.AllowsWallet(alice) && one.AllowsWallet(bob) })
			psql(t, url, `UPDATE allowlist_entries SET value = $1 WHERE value = $2`, alice, bob)
			promised.await("changed by hand", func() bool { return other.AllowsWallet(alice) && !other.AllowsWallet(bob) })
			psql(t, url, `TRUNCATE allowlist_entries`)
			promised.await("emptied by hand", func() bool { return !other.AllowsWallet(alice) && !other.AllowsWallet(carol) })
		})
	}
}

func add(t *testing.T, list auth.Allowlist, entries ...string) {
	t.Helper()
	for _, entry := range entries {
		kind := auth.EntryWallet
		if strings.HasPrefix(entry, auth.APIKeyPrefix) {
			kind = auth.EntryAPIKey
		}
		if _, err := list.Add(t.Context(), kind, entry); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, list auth.Allowlist, entry string) {
	t.Helper()
	if _, err := list.Remove(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
}

func TestReplicasAddAtOnce(t *testing.T) {
	t.Parallel()
	const each = 20
	url := server.Migrated(t)
	var wg sync.WaitGroup
	var lists []*postgres.Allowlist
	for r := range 2 {
		list := open(t, postgres.Config{Pool: pool(t, url)})
		lists = append(lists, list)
		for i := range each {
			wg.Go(func() {
				if _, err := list.Add(t.Context(), auth.EntryAPIKey, fmt.Sprintf("dxk_%d_%08d", r, i)); err != nil {
					t.Errorf("Add: %v", err)
				}
			})
		}
	}
	wg.Wait()
	for _, list := range lists {
		eventually(t, "all are listed", func() bool { return len(list.List().APIKeys) == 2*each })
	}
	if diff := cmp.Diff(lists[0].List(), lists[1].List()); diff != "" {
		t.Errorf("the replicas differ: %s", diff)
	}
}

// TestBoundByHand: who writes to the table is held to the same bound and shapes.
func TestBoundByHand(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	conn := pool(t, url)
	for statement, want := range map[string]string{
		`INSERT INTO allowlist_entries (kind, value) SELECT 'api_key', 'dxk_' || 10000000 + n FROM generate_series(1, 20001) AS n`: "54000",
		`INSERT INTO allowlist_entries (kind, value) VALUES ('wallet', '0x12')`:                                                    "23514",
		`INSERT INTO allowlist_entries (kind, value) VALUES ('api_key', 'root')`:                                                   "23514",
		`INSERT INTO allowlist_entries (kind, value) VALUES ('other', 'dxk_12345678')`:                                             "23514",
		`INSERT INTO allowlist_entries (kind, value) VALUES ('wallet', '` + bob + `'), ('wallet', lower('` + bob + `'))`:           "23505",
	} {
		_, err := conn.Exec(t.Context(), statement)
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != want {
			t.Errorf("%s: %v, want %s", statement, err, want)
		}
	}
	if list := open(t, postgres.Config{Pool: conn}).List(); len(list.Wallets)+len(list.APIKeys) != 0 {
		t.Errorf("something of it stayed: %d, %d", len(list.Wallets), len(list.APIKeys))
	}
}

// TestAnotherDatabase: after a restore the versions begin again, and what was listed there counts.
func TestAnotherDatabase(t *testing.T) {
	t.Parallel()
	url, promised := server.Migrated(t), newPromises(t)
	list := open(t, postgres.Config{Pool: pool(t, url)})
	add(t, list, alice, bob, carol)
	psql(t, url, `DELETE FROM allowlist_meta`)
	psql(t, url, `DELETE FROM allowlist_entries WHERE value = $1`, alice)
	promised.await("a lower version counts", func() bool { return !list.AllowsWallet(alice) && list.AllowsWallet(bob) })
	add(t, list, alice)
	remove(t, list, bob)
	if !list.AllowsWallet(alice) || list.AllowsWallet(bob) {
		t.Error("changes do not count")
	}
	psql(t, url, `UPDATE allowlist_meta SET policy = '["no policy"]'`)
	psql(t, url, `DELETE FROM allowlist_entries WHERE value = $1`, carol)
	promised.await("a policy that is none holds up nothing", func() bool { return !list.AllowsWallet(carol) })
}

// TestTriggerOff: what is changed without a new version is noticed too, if later.
func TestTriggerOff(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	list, err := postgres.OpenRereading(t.Context(), postgres.Config{Pool: pool(t, url), PollInterval: 50 * time.Millisecond}, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = list.Close() }()
	add(t, list, alice)
	psql(t, url, `ALTER TABLE allowlist_entries DISABLE TRIGGER allowlist_changes`)
	psql(t, url, `DELETE FROM allowlist_entries`)
	eventually(t, "read again", func() bool { return !list.AllowsWallet(alice) })
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(t.Context(), postgres.Config{PollInterval: -1})
	for _, part := range []string{"Pool", "PollInterval"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s is not in %v", part, err)
		}
	}
	empty := pool(t, server.Database(t))
	if _, err := postgres.Open(t.Context(), postgres.Config{Pool: empty}); !errors.Is(err, auth.ErrAllowlistStore) {
		t.Errorf("a database without tables: %v, want ErrAllowlistStore", err)
	}
	nobody := pool(t, "postgres://u:secret@127.0.0.1:1/x?connect_timeout=1")
	for _, seed := range []string{"", string(newFile(t, `{}`))} {
		if _, err := postgres.Open(t.Context(), postgres.Config{Pool: nobody, SeedFile: seed}); !errors.Is(err, auth.ErrAllowlistStore) ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("no database: %v, want ErrAllowlistStore", err)
		}
	}
	left, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := postgres.Open(left, postgres.Config{Pool: empty}); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has left: %v", err)
	}
}

func TestSchemaIsMissing(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(t.Context(), postgres.Config{Pool: pool(t, server.Database(t))})
	if !errors.Is(err, auth.ErrAllowlistStore) || !strings.Contains(err.Error(), "run Up of a migrate.Migrator") {
		t.Errorf("without a schema: %v", err)
	}
}
