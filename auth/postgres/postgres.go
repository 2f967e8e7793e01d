// Package postgres keeps the allowlist in PostgreSQL, in the tables that package migrate makes, for any
// number of processes on one database.
//
// The table is the list. Each process judges by a copy in memory, which it keeps in step: it LISTENs on a
// connection of its own and compares the version of the list twice a second besides, so that a change by
// anybody, also one made by hand with psql, counts everywhere within a second, as long as the database
// answers. While it does not, the copy stays as it is: who may come in still may, and the list cannot be
// changed.
//
// # The file
//
// A file seeds the list when a process starts. The database remembers the file that was applied last, and
// only what differs from it is done, by the first process that has the new file:
//
//   - An entry that the file has and the last one had not is added, unless it is listed already.
//   - An entry that the last file had and this one has not is removed, if it came from a file. What an admin
//     has added, or added again, stays.
//   - An entry that both files have is left as it is. So one that was removed, by an admin or by hand, stays
//     removed whatever else changes in the file, until an admin adds it, or a file drops it and a later one
//     names it anew.
//   - The policy becomes that of the file.
//
// So a restart with the same file does nothing. An absent file does nothing either: only an empty list takes
// entries away. A file with an updated_at before that of a file that was applied is an old copy, as a process
// has that an update has not reached yet; it is logged and not applied. A file without updated_at is always
// taken for a new one: it should carry one where processes may start with different files.
//
// Wallets and API keys are in the table in clear text, because the listing of an admin shows them, as the
// file does. Whoever can read the table, or a backup of it, has the keys.
package postgres

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"dixie/internal/auth"
)

// DefaultPollInterval leaves half of a second for the reading.
const DefaultPollInterval = 500 * time.Millisecond

// Config is what an [Allowlist] is made of.
type Config struct {
	// Pool connects to a database that package migrate has migrated. Required. The caller keeps it, and
	// closes it after the allowlist. The connection that listens is made like one of the pool's, with its
	// BeforeConnect and AfterConnect, and does not count among them.
	Pool *pgxpool.Pool
	// SeedFile is a file as dixie.WithAllowlistFile reads it, see the description of the package. It is
	// read once, and never written. Empty: the table is all there is.
	SeedFile string
	// Logger is told how many entries were read, and once of each outage and its end, without entries; nil
	// logs nothing.
	Logger *slog.Logger
	// PollInterval is how often the version of the list is compared; 0 is [DefaultPollInterval]. It bounds
	// how late a change is noticed whose notification is lost, or that a pooler in transaction mode does
	// not pass on.
	PollInterval time.Duration
}

const (
	// openTime is for the seed and the first reading, also when others hold the lock for theirs.
	openTime = 30 * time.Second
	// answerTime is how long the database has for a change or for the whole list.
	answerTime = 3 * time.Second
)

// Allowlist is an allowlist in PostgreSQL. Make one with [Open]; it is safe for concurrent use. Who may come
// in is answered from memory.
type Allowlist struct {
	pool    *pgxpool.Pool
	log     *slog.Logger
	poll    time.Duration
	reread  time.Duration
	current atomic.Pointer[list]
	cancel  context.CancelFunc
	done    chan struct{}
}

var _ auth.Allowlist = (*Allowlist)(nil)

// Open applies the seed file, if it is new, reads the list and begins to follow it; ctx is about these alone.
// It fails when the file is malformed, which names its path and the place, with dixie.ErrAllowlistFull when
// its entries do not fit beside those that are listed, and with dixie.ErrAllowlistStore when the database
// does not answer within half a minute or has no such tables. Close it.
func Open(ctx context.Context, cfg Config) (*Allowlist, error) {
	return open(ctx, cfg, rereadInterval)
}

func open(ctx context.Context, cfg Config, reread time.Duration) (*Allowlist, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.PollInterval == 0 {
		cfg.PollInterval = DefaultPollInterval
	}
	var problems []error
	if cfg.Pool == nil {
		problems = append(problems, errors.New("auth/postgres: Pool is missing"))
	}
	if cfg.PollInterval < 0 {
		problems = append(problems, errors.New("auth/postgres: PollInterval is negative"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}

	a := &Allowlist{pool: cfg.Pool, log: cfg.Logger, poll: cfg.PollInterval, reread: reread, done: make(chan struct{})}
	opening, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	if cfg.SeedFile != "" {
		if err := a.seed(opening, cfg.SeedFile); err != nil {
			return nil, err
		}
	}
	if err := a.read(opening, a.pool); err != nil {
		return nil, interpret(ctx, "read the allowlist", err)
	}

	if now := a.current.Load().List(); len(now.Wallets)+len(now.APIKeys) == 0 {
		a.log.WarnContext(ctx, "the allowlist is empty: nobody is admitted until an admin adds somebody")
	}

	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	go a.follow(following)
	return a, nil
}

// AllowsWallet implements dixie.Allowlist.
func (a *Allowlist) AllowsWallet(address string) bool { return a.current.Load().AllowsWallet(address) }

// AllowsKey implements dixie.Allowlist.
func (a *Allowlist) AllowsKey(key string) bool { return a.current.Load().AllowsKey(key) }

// List implements dixie.Allowlist. It is the list by which this process judges.
func (a *Allowlist) List() auth.AllowlistData { return a.current.Load().List() }

// Close ends the following and its connection. The list in memory still answers, and is not kept in step.
func (a *Allowlist) Close() error {
	a.cancel()
	<-a.done
	return nil
}
