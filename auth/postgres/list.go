package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"dixie/internal/auth"
)

// list is the content of the tables at one time.
type list struct {
	*auth.AllowlistSnapshot

	version int64
}

const (
	readVersion = `SELECT coalesce((SELECT version FROM allowlist_meta), 0)`
	// One statement, so that the entries are those of the version.
	readList = `SELECT coalesce((SELECT version FROM allowlist_meta), 0),
		(SELECT updated_at FROM allowlist_meta), (SELECT policy FROM allowlist_meta),
		ARRAY(SELECT value FROM allowlist_entries WHERE kind = 'wallet' ORDER BY position),
		ARRAY(SELECT value FROM allowlist_entries WHERE kind = 'api_key' ORDER BY position)`

	// fileVersion is the version of the format, see [auth.AllowlistData].
	fileVersion = 1
)

// rows is the list as it comes from the database.
type rows struct {
	version       int64
	updatedAt     *time.Time
	policy        []byte
	wallets, keys []string
}

// querier is a pool, a connection or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func load(ctx context.Context, db querier) (rows, error) {
	var r rows
	err := db.QueryRow(ctx, readList).Scan(&r.version, &r.updatedAt, &r.policy, &r.wallets, &r.keys)
	return r, err //nolint:wrapcheck // The callers say what they were doing.
}

// list is ready to be asked. What is neither an address nor a key is not on it.
func (r rows) list() *list {
	data := auth.AllowlistData{
		Version: fileVersion,
		Wallets: normalized(auth.EntryWallet, r.wallets),
		APIKeys: normalized(auth.EntryAPIKey, r.keys),
	}
	if r.updatedAt != nil {
		data.UpdatedAt = r.updatedAt.UTC().Truncate(time.Millisecond)
	}
	// A policy that was written by hand and is none must not hold up a removal.
	if err := json.Unmarshal(r.policy, &data.Policy); err != nil {
		data.Policy = nil
	}
	return &list{auth.NewAllowlistSnapshot(data), r.version}
}

func normalized(kind auth.EntryKind, values []string) []string {
	entries := make([]string, 0, len(values))
	for _, value := range values {
		if entry, err := auth.NormalizeEntry(kind, value); err == nil {
			entries = append(entries, entry)
		}
	}
	return entries
}

// read takes over what the tables have.
func (a *Allowlist) read(ctx context.Context, db querier) error {
	since := a.current.Load()
	r, err := load(ctx, db)
	if err != nil {
		return err
	}
	a.publish(since, r.list())
	if since == nil || since.version != r.version {
		a.log.InfoContext(ctx, "allowlist read", "version", r.version, "wallets", len(r.wallets), "api_keys", len(r.keys))
	}
	return nil
}

// publish has everybody judged by a list that was read after since was current. When another one became
// current meanwhile, the newer one counts. Else it is the new one, even with a lower version: then the
// database is another one, as after a restore.
func (a *Allowlist) publish(since, read *list) {
	for {
		now := a.current.Load()
		if now != since && now.version >= read.version {
			return
		}
		if a.current.CompareAndSwap(now, read) {
			return
		}
	}
}
