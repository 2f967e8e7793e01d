package postgres_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"dixie/auth/postgres"
	"dixie/internal/auth"
	"dixie/internal/pgtest"
	"dixie/migrate"
)

// TestConnectionsEnded: a replica whose connections are all terminated still keeps the promise.
func TestConnectionsEnded(t *testing.T) {
	t.Parallel()
	url, promised := server.Migrated(t), newPromises(t)
	heard := &listens{}
	list := open(t, postgres.Config{Pool: pool(t, url+"&application_name=victim", heard.counted)})
	add(t, list, alice, bob)
	for i, entry := range []string{alice, bob} {
		heard.await(t, int32(i+1))
		psql(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'victim'`)
		psql(t, url, `DELETE FROM allowlist_entries WHERE value = $1`, entry)
		promised.await("removed from a replica that was cut off", func() bool { return !list.AllowsWallet(entry) })
	}
}

// TestListenerRefused: while no connection can be made to listen, one of the pool is polled.
func TestListenerRefused(t *testing.T) {
	t.Parallel()
	url, polled, promised := server.Migrated(t), newPromises(t), newPromises(t)
	var refuse atomic.Bool
	heard := &listens{}
	p := pool(t, url+"&application_name=victim", heard.counted, func(cfg *pgxpool.Config) {
		cfg.MaxConns = 1
		cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error {
			if refuse.Load() {
				return errors.New("no more connections")
			}
			return nil
		}
	})
	log := &logs{}
	list := open(t, postgres.Config{Pool: p, Logger: log.logger(), PollInterval: 100 * time.Millisecond})
	first, second := "0x"+strings.Repeat("1", 40), "0x"+strings.Repeat("2", 40)
	add(t, list, alice, bob, first, second)
	heard.await(t, 1)

	refuse.Store(true)
	if _, err := p.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = 'victim' AND pid <> pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "polled", func() bool { return log.count("it is polled") == 1 })
	for _, entry := range []string{alice, first, second} {
		psql(t, url, `DELETE FROM allowlist_entries WHERE value = $1`, entry)
		polled.await("removed from a replica that polls", func() bool { return !list.AllowsWallet(entry) })
	}
	refuse.Store(false)
	eventually(t, "notified", func() bool { return log.count("notified again") == 1 })
	remove(t, open(t, postgres.Config{Pool: pool(t, url)}), bob)
	promised.await("removed from a replica that listens again", func() bool { return !list.AllowsWallet(bob) })
	if log.count("it is polled") != 1 || log.count("cannot be read") != 0 {
		t.Errorf("the log has more: %s", log.text.String())
	}
}

// TestDatabaseAway: the list stays, cannot be changed, and is followed again.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	m, err := migrate.New(own.URL(), migrate.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	log, promised := &logs{}, newPromises(t)
	var looks atomic.Int32
	list := open(t, postgres.Config{
		Pool: pool(t, own.URL(), func(cfg *pgxpool.Config) {
			cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error {
				looks.Add(1)
				return nil
			}
		}),
		Logger: log.logger(), PollInterval: 50 * time.Millisecond,
	})
	add(t, list, alice, key)

	for outage := 1; outage <= 2; outage++ {
		if outage == 1 {
			own.Stop()
		} else {
			own.Kill()
		}
		before := looks.Load()
		eventually(t, "tried again and again", func() bool { return looks.Load() > before+10 && log.count("cannot be read") == outage })
		if !list.AllowsWallet(alice) || !list.AllowsKey(key) || list.AllowsWallet(bob) || len(list.List().Wallets) != 1 {
			t.Error("the list did not stay")
		}
		if _, err := list.Add(t.Context(), auth.EntryWallet, bob); !errors.Is(err, auth.ErrAllowlistStore) {
			t.Errorf("Add: %v, want ErrAllowlistStore", err)
		}
		if _, err := list.Remove(t.Context(), alice); !errors.Is(err, auth.ErrAllowlistStore) || !list.AllowsWallet(alice) {
			t.Errorf("Remove: %v, want ErrAllowlistStore", err)
		}
		left, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := list.Remove(left, alice); !errors.Is(err, context.Canceled) || errors.Is(err, auth.ErrAllowlistStore) {
			t.Errorf("Remove by a caller that left: %v", err)
		}
		if err := own.Start(); err != nil {
			t.Fatal(err)
		}
		// At once, before anything has noticed that the database is back.
		psql(t, own.URL(), `DELETE FROM allowlist_entries WHERE kind = 'api_key'`)
		promised.await("changed after the outage", func() bool { return !list.AllowsKey(key) })
		add(t, list, key)
		eventually(t, "logged", func() bool { return log.count("can be read again") == outage })
	}
	if log.count("cannot be read") != 2 || log.count("can be read again") != 2 {
		t.Errorf("the log does not have one line of each outage and of its end: %s", log.text.String())
	}
}

// TestSilentConnections: connections whose other end has gone without a word are given up.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	direct := server.Migrated(t)
	way := newRelay(t, direct)
	defer way.end() // Before the pool closes its connections, which would wait for the silent ones.
	heard := &listens{}
	list := open(t, postgres.Config{Pool: pool(t, way.url, heard.counted)})
	add(t, list, alice)
	heard.await(t, 1)
	// The reading that follows LISTEN has more time than a comparison: it is to be done.
	psql(t, direct, `INSERT INTO allowlist_entries (kind, value) VALUES ('wallet', $1)`, bob)
	eventually(t, "inserted by hand", func() bool { return list.AllowsWallet(bob) })
	way.silence()
	psql(t, direct, `DELETE FROM allowlist_entries`)
	// Half a second until the next comparison, a second for it, another for the pool's connection.
	eventually(t, "removed behind a silent connection", func() bool { return !list.AllowsWallet(alice) })
}
