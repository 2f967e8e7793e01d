package database_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"dixie/database"
)

func TestTransact(t *testing.T) {
	t.Parallel()
	pool, err := database.Open(context.WithoutCancel(t.Context()), database.Config{URL: server.Database(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(t.Context(), `CREATE TABLE numbers (n int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)`); err != nil {
		t.Fatal(err)
	}
	insert := func(then error) error {
		return database.Transact(t.Context(), pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `INSERT INTO numbers VALUES (1)`); err != nil {
				return err
			}
			return then
		})
	}
	count := func() (n int) {
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM numbers`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	refusal := errors.New("not this")
	if err := insert(refusal); !errors.Is(err, refusal) || count() != 0 {
		t.Errorf("a refusal gives %v and leaves %d rows", err, count())
	}
	if err := insert(nil); err != nil || count() != 1 {
		t.Errorf("%v, %d rows", err, count())
	}
	// The constraint is looked at in the commit.
	if err := insert(nil); err == nil || database.Clashed(err) || count() != 1 {
		t.Errorf("a commit that is refused gives %v, %d rows", err, count())
	}
	for code, clash := range map[string]bool{"40001": true, "40P01": true, "54000": false} {
		err := database.Transact(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '`+code+`'; END $$`)
			return err
		})
		if database.Clashed(err) != clash {
			t.Errorf("Clashed(%v) is not %v", err, clash)
		}
	}
}
