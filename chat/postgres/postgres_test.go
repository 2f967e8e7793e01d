package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"dixie/chat/postgres"
	"dixie/internal/chat"
	"dixie/internal/chat/chattest"
	"dixie/internal/pgtest"
	"dixie/migrate"
)

//nolint:gochecknoglobals // The server that this package's tests share.
var server *pgtest.Pool

func TestMain(m *testing.M) {
	server = pgtest.Main(m)
	goleak.VerifyTestMain(server)
}

func open(t *testing.T, url string) *postgres.Sessions {
	t.Helper()
	pool, err := pgxpool.New(context.WithoutCancel(t.Context()), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return postgres.New(pool)
}

func TestSessions(t *testing.T) {
	t.Parallel()
	chattest.Run(t, func(t *testing.T) chat.SessionStore {
		t.Helper()
		return open(t, server.Migrated(t))
	})
}

// TestDatabaseAway is decision 23: who owns a session that was seen before is known while the database is
// away; for others, and for changes, there is no answer.
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
	one, other := open(t, own.URL()), open(t, own.URL())
	now := time.Now().UTC().Truncate(time.Microsecond)
	want := chat.Session{ID: "s-1", Owner: "wallet:a", CreatedAt: now, LastActivity: now}
	if err := one.Create(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	own.Kill()
	if got, err := one.Get(t.Context(), "s-1"); err != nil || got != want {
		t.Errorf("a session that was seen: %+v, %v", got, err)
	}
	if _, err := other.Get(t.Context(), "s-1"); !errors.Is(err, chat.ErrStoreUnavailable) {
		t.Errorf("one that was not: %v", err)
	}
	if err := one.Create(t.Context(), chat.Session{ID: "s-2", Owner: "wallet:a"}); !errors.Is(err, chat.ErrStoreUnavailable) {
		t.Errorf("a new one: %v", err)
	}
	if err := one.Touch(t.Context(), "s-1", now); !errors.Is(err, chat.ErrStoreUnavailable) {
		t.Errorf("a turn: %v", err)
	}
	if _, err := one.List(t.Context(), "wallet:a", 0); !errors.Is(err, chat.ErrStoreUnavailable) {
		t.Errorf("a list: %v", err)
	}
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	if got, err := other.Get(t.Context(), "s-1"); err != nil || got != want {
		t.Errorf("when it is back: %+v, %v", got, err)
	}
}

// TestNoPool: without a pool there is no store, which whoever takes one can tell.
func TestNoPool(t *testing.T) {
	t.Parallel()
	if sessions := postgres.New(nil); sessions != nil {
		t.Error("a store without a pool")
	}
}

func TestSchemaIsMissing(t *testing.T) {
	t.Parallel()
	sessions := open(t, server.Database(t))
	_, err := sessions.Get(t.Context(), "s-1")
	for _, err := range []error{err, sessions.Create(t.Context(), chat.Session{ID: "s-1", Owner: "wallet:a"})} {
		if !errors.Is(err, chat.ErrStoreUnavailable) || !strings.Contains(err.Error(), "run Up of a migrate.Migrator") {
			t.Errorf("without a schema: %v", err)
		}
	}
}
