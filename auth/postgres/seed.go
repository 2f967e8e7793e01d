package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"

	"dixie/database"
	"dixie/internal/auth"
)

const (
	seedApplied = `SELECT seed_sha256 FROM allowlist_meta`
	seedRow     = `INSERT INTO allowlist_meta DEFAULT VALUES ON CONFLICT DO NOTHING`
	seedLock    = `SELECT seed_sha256, seed_updated_at, seed FROM allowlist_meta FOR UPDATE`
	seedRemove  = `DELETE FROM allowlist_entries WHERE source = 'file' AND entry = ANY ($1)`
	seedAdd     = `INSERT INTO allowlist_entries (kind, value, source)
		SELECT f.kind, f.value, 'file' FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS f (kind, value, n) ORDER BY f.n
		ON CONFLICT (entry) DO NOTHING`
	// A time in the future would have every later file taken for an old one.
	seedDone = `UPDATE allowlist_meta SET policy = $1, seed_sha256 = $2, seed = $3,
		seed_updated_at = greatest(seed_updated_at, CASE WHEN $4::timestamptz > now() THEN now() ELSE $4::timestamptz END)`
)

// seedFile is a file that is to be applied.
type seedFile struct {
	auth.AllowlistData

	sum []byte
	// keys are the entries as the table compares them, in the order of the file; kinds and values go with them.
	keys, kinds, values []string
}

// seed applies the file, unless it was the last that was applied.
func (a *Allowlist) seed(ctx context.Context, path string) error {
	data, raw, err := auth.ReadAllowlistFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		a.log.InfoContext(ctx, "there is no file to seed the allowlist from", "path", path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("auth/postgres: seed the allowlist: %w", err)
	}
	sum := sha256.Sum256(raw)
	doing := "seed the allowlist from " + path
	var applied []byte
	switch err := a.pool.QueryRow(ctx, seedApplied).Scan(&applied); {
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return interpret(ctx, doing, err)
	case bytes.Equal(applied, sum[:]):
		return nil
	}

	file := seedFile{AllowlistData: data, sum: sum[:], keys: []string{}}
	file.append(auth.EntryWallet, data.Wallets)
	file.append(auth.EntryAPIKey, data.APIKeys)
	var result seeded
	err = database.Atomically(ctx, a.pool, func(tx pgx.Tx) (err error) {
		result, err = file.apply(ctx, tx)
		return err
	})
	switch {
	case err != nil:
		return interpret(ctx, doing, err)
	case result.old:
		a.log.WarnContext(ctx, "the allowlist's file is older than the one that was applied last, and is not applied",
			"path", path, "updated_at", data.UpdatedAt)
	case result.done:
		a.log.InfoContext(ctx, "allowlist seeded", "path", path, "added", result.added, "removed", result.removed)
	}
	return nil
}

func (f *seedFile) append(kind auth.EntryKind, entries []string) {
	for _, entry := range entries {
		f.keys, f.kinds, f.values = append(f.keys, keyOf(entry)), append(f.kinds, nameOf(kind)), append(f.values, entry)
	}
}

// seeded is what came of applying a file.
type seeded struct {
	done, old      bool
	added, removed int64
}

// apply does what differs from the last file. Others with a file wait at the lock.
func (f *seedFile) apply(ctx context.Context, tx pgx.Tx) (seeded, error) {
	var (
		applied   []byte
		appliedAt *time.Time
		before    []string
	)
	if _, err := tx.Exec(ctx, seedRow); err != nil {
		return seeded{}, fmt.Errorf("prepare: %w", err)
	}
	if err := tx.QueryRow(ctx, seedLock).Scan(&applied, &appliedAt, &before); err != nil {
		return seeded{}, fmt.Errorf("lock: %w", err)
	}
	if bytes.Equal(applied, f.sum) {
		return seeded{}, nil // Another process was faster.
	}
	if appliedAt != nil && !f.UpdatedAt.IsZero() && f.UpdatedAt.Before(*appliedAt) {
		return seeded{old: true}, nil
	}

	result := seeded{done: true}
	gone, kinds, values := f.differenceFrom(before)
	if len(gone) > 0 {
		done, err := tx.Exec(ctx, seedRemove, gone)
		if err != nil {
			return seeded{}, fmt.Errorf("remove: %w", err)
		}
		result.removed = done.RowsAffected()
	}
	if len(values) > 0 {
		done, err := tx.Exec(ctx, seedAdd, kinds, values)
		if err != nil {
			return seeded{}, fmt.Errorf("add: %w", err)
		}
		result.added = done.RowsAffected()
	}
	var policy []byte
	if f.Policy != nil {
		var err error
		if policy, err = json.Marshal(f.Policy); err != nil {
			return seeded{}, fmt.Errorf("encode the policy: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, seedDone, policy, f.sum, f.keys, f.updatedAt()); err != nil {
		return seeded{}, fmt.Errorf("note the file: %w", err)
	}
	return result, nil
}

func (f *seedFile) updatedAt() *time.Time {
	if f.UpdatedAt.IsZero() {
		return nil
	}
	return &f.UpdatedAt
}

// differenceFrom says what an earlier file had and this one has not, and the reverse.
func (f *seedFile) differenceFrom(before []string) (gone, kinds, values []string) {
	had, has := set(before), set(f.keys)
	for _, key := range before {
		if _, ok := has[key]; !ok {
			gone = append(gone, key)
		}
	}
	for i, key := range f.keys {
		if _, ok := had[key]; !ok {
			kinds, values = append(kinds, f.kinds[i]), append(values, f.values[i])
		}
	}
	return gone, kinds, values
}

func set(keys []string) map[string]struct{} {
	all := make(map[string]struct{}, len(keys))
	for _, key := range keys {
		all[key] = struct{}{}
	}
	return all
}
