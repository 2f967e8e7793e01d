package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dixie/database"
	"dixie/internal/auth"
)

const (
	// What an admin adds is the admin's, also where the file had it first.
	add = `INSERT INTO allowlist_entries (kind, value) VALUES ($1, $2)
		ON CONFLICT (entry) DO UPDATE SET value = excluded.value, source = 'admin'`
	remove = `DELETE FROM allowlist_entries WHERE entry = $1`
)

// nameOf is the kind as the table has it.
func nameOf(kind auth.EntryKind) string {
	if kind == auth.EntryAPIKey {
		return "api_key"
	}
	return "wallet"
}

// keyOf is a normalised entry as the table compares it. No key is like an address, so it needs no kind.
func keyOf(entry string) string {
	if strings.HasPrefix(entry, auth.APIKeyPrefix) {
		return entry
	}
	return strings.ToLower(entry)
}

// Add implements dixie.Allowlist. After dixie.ErrAllowlistStore the entry may be listed nevertheless, when
// the connection broke during the commit; adding it again does no harm.
func (a *Allowlist) Add(ctx context.Context, kind auth.EntryKind, value string) (auth.AllowlistData, error) {
	entry, err := auth.NormalizeEntry(kind, value)
	if err != nil {
		return auth.AllowlistData{}, err
	}
	return a.change(ctx, "add to the allowlist", func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, add, nameOf(kind), entry)
		return err //nolint:wrapcheck // interpret says what was being done.
	})
}

// Remove implements dixie.Allowlist. After dixie.ErrAllowlistStore the entry may be gone nevertheless, as
// with Add.
func (a *Allowlist) Remove(ctx context.Context, entry string) (auth.AllowlistData, error) {
	for _, kind := range []auth.EntryKind{auth.EntryWallet, auth.EntryAPIKey} {
		listed, err := auth.NormalizeEntry(kind, entry)
		if err != nil {
			continue
		}
		return a.change(ctx, "remove from the allowlist", func(ctx context.Context, tx pgx.Tx) error {
			done, err := tx.Exec(ctx, remove, keyOf(listed))
			if err == nil && done.RowsAffected() == 0 {
				err = auth.ErrNotListed
			}
			return err
		})
	}
	return auth.AllowlistData{}, auth.ErrNotListed
}

// change commits an edit, and has this process judge by what came of it before it returns.
func (a *Allowlist) change(ctx context.Context, doing string, edit func(context.Context, pgx.Tx) error) (auth.AllowlistData, error) {
	since := a.current.Load()
	var after rows
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err := database.Atomically(limited, a.pool, func(tx pgx.Tx) (err error) {
		if err = edit(limited, tx); err == nil {
			after, err = load(limited, tx)
		}
		return err
	})
	if err != nil {
		return auth.AllowlistData{}, interpret(ctx, doing, err)
	}
	l := after.list()
	a.publish(since, l)
	return l.List(), nil
}

// programLimitExceeded is what the trigger raises when there are too many entries.
const programLimitExceeded = "54000"

// interpret gives an error the form that dixie.Allowlist promises. ctx is the caller's.
func interpret(ctx context.Context, doing string, err error) error {
	switch refused, ok := errors.AsType[*pgconn.PgError](err); {
	case errors.Is(err, auth.ErrNotListed):
		return err
	case ok && refused.Code == programLimitExceeded:
		return fmt.Errorf("auth/postgres: %s: %w", doing, auth.ErrAllowlistFull)
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("auth/postgres: %s: %w", doing, ctx.Err())
	default:
		return fmt.Errorf("auth/postgres: %s: %w: %w", doing, auth.ErrAllowlistStore, database.Explain(err))
	}
}
