// Package postgres keeps a fleet in PostgreSQL and dispatches its attempts with River, for any number of
// processes on one database. The tables are those of package migrate.
//
// River hands out, the task's row decides. An attempt that is admitted or tried again is a job of River
// that was inserted in the same transaction. Whoever is handed the job takes the lease on the task's row
// first, by a compare-and-set, and renews it while it works; who does not get it, does nothing. Every
// process looks for leases that ran out, and gives those tasks to their next attempt, see [fleet.Rescue];
// and for attempts that are due for long and have no job, and gives them one. So the death of a process,
// or of a job, costs a task some seconds, and a worker that is cut off is fenced and told.
//
// River has one leader among all of its clients on a schema, which also looks after the jobs of the others
// by its own settings. A host that uses River itself keeps its jobs in another schema or database.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"dixie/fleet"
)

// Defaults of [Config].
const (
	DefaultLease         = 20 * time.Second
	DefaultRenewInterval = 5 * time.Second
	DefaultSweepInterval = 5 * time.Second
)

// Config is what a [Store] is made of.
type Config struct {
	// Pool connects to a database that package migrate has migrated. Required. The caller keeps it, and
	// closes it after the store has stopped. A started store holds one connection to listen with, unless
	// PollOnly is set, and needs a few more at a time; 4 is the least that makes sense.
	Pool *pgxpool.Pool
	// Logger gets what goes wrong, sanitised, and of River's warnings and errors each text once a minute at most; at debug
	// level also what River tells of itself. nil logs nothing.
	Logger *slog.Logger
	// Publish is told of each event, at least once, in any order and by any process that has it: an error
	// asks for another call later, a second at first and up to a minute. [MessageID] tells repetitions
	// from news. It must be safe for concurrent use, and has half a minute for an event. With nil the
	// store does not publish, and the [fleet.Service] tells of what it did itself. All processes on a
	// database must agree on whether they publish.
	Publish func(context.Context, fleet.Event) error
	// Lease is how long a worker keeps a task without renewing; 0 is [DefaultLease]. It bounds how long a
	// task waits after the death of its worker, and how long the database may be away without attempts
	// being taken from those who work on them.
	Lease time.Duration
	// RenewInterval is how often leases are renewed, and so how soon a worker notices that another process
	// has stopped its task; 0 is [DefaultRenewInterval]. At most half of Lease.
	RenewInterval time.Duration
	// SweepInterval is how often this process looks for what was lost, give or take a fifth; 0 is
	// [DefaultSweepInterval].
	SweepInterval time.Duration
	// Retention is how long tasks that have ended are kept, with their logs and idempotency keys; the
	// ledger stays. 0 keeps them until somebody deletes them.
	Retention time.Duration
	// PollOnly does without LISTEN, which a pooler in transaction mode does not pass on. Attempts are then
	// handed out up to a second later.
	PollOnly bool
}

// Store is a [fleet.Store] on PostgreSQL. Make one with [New]; it is safe for concurrent use. It neither
// opens nor closes its pool.
type Store struct {
	cfg  Config
	log  *slog.Logger
	name string        // Of this store among all that are on the database.
	last atomic.Uint64 // Numbers the leases that it takes.
	jobs *river.Client[pgx.Tx]
	// untold says that the event that was to be published last was not taken.
	untold atomic.Bool
	// operators puts the admissions of each operator in line before they take a connection to wait with.
	operators turnstile

	mu  sync.Mutex
	run *dispatcher // GUARDED_BY(mu); nil before Start
}

var _ fleet.Store = (*Store)(nil)

// New checks the configuration and reports all that is wrong with it. It connects to nothing and starts
// nothing.
func New(cfg Config) (*Store, error) {
	cfg.Lease = cmp.Or(cfg.Lease, DefaultLease)
	cfg.RenewInterval = cmp.Or(cfg.RenewInterval, DefaultRenewInterval)
	cfg.SweepInterval = cmp.Or(cfg.SweepInterval, DefaultSweepInterval)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	// This client only inserts. The one that works is made in Start, which knows how many workers there are.
	jobs, err := river.NewClient(riverpgxv5.New(cfg.Pool), &river.Config{Logger: newRiverLog(cfg.Logger)})
	if err != nil {
		return nil, fmt.Errorf("fleet/postgres: %w", err)
	}
	return &Store{
		cfg: cfg, log: cfg.Logger, jobs: jobs, name: uniqueName(),
		operators: turnstile{lines: make(map[string]*line)},
	}, nil
}

// uniqueName says to people where a store is, as far as that is known, and is no other store's.
func uniqueName() string {
	const longestHost = 40 // River takes names of up to 100 bytes.
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%.*s/%d/%s", longestHost, host, os.Getpid(), uuid.NewString())
}

func (c Config) validate() error {
	var problems []error
	if c.Pool == nil {
		problems = append(problems, errors.New("fleet/postgres: Pool is missing"))
	}
	for _, interval := range []struct {
		name  string
		value time.Duration
	}{{"Lease", c.Lease}, {"RenewInterval", c.RenewInterval}, {"SweepInterval", c.SweepInterval}, {"Retention", c.Retention}} {
		if interval.value < 0 {
			problems = append(problems, fmt.Errorf("fleet/postgres: %s is negative", interval.name))
		}
	}
	if c.RenewInterval > c.Lease/2 {
		problems = append(problems, errors.New("fleet/postgres: RenewInterval is more than half of Lease"))
	}
	return errors.Join(problems...)
}

// Publishes says whether the store tells of the changes that it commits, see [fleet.Store].
func (s *Store) Publishes() bool { return s.cfg.Publish != nil }
