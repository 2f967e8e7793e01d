package migrate

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed sql/*.sql
var files embed.FS

// versionTable is where goose keeps what was applied. Its name says whose it is, because a database may
// be shared.
const versionTable = "dixie_migrations"

// Source says whose migration it is.
type Source string

// The sources.
const (
	// Dixie is a file of this package.
	Dixie Source = "dixie"
	// River is a migration of the job queue.
	River Source = "river"
)

// Migration is a step of the schema.
type Migration struct {
	Source  Source
	Version int64
	Name    string
	// Applied says whether the database has it, AppliedAt since when; it is zero where that is not known.
	Applied   bool
	AppliedAt time.Time
}

// Step is a migration that a run has applied or taken back.
type Step struct {
	Source   Source
	Version  int64
	Name     string
	Duration time.Duration
}

// Result is what a run did, in order; no steps when there was nothing to do.
type Result struct {
	Steps []Step
}

// Config changes how a [Migrator] works. The zero value is usable.
type Config struct {
	// LockTimeout is how long to wait for another process that migrates; 0 is [DefaultLockTimeout].
	LockTimeout time.Duration
	// Logger is told of each step; nil: nobody is.
	Logger *slog.Logger
}

// Migrator runs migrations. Make one with [New].
type Migrator struct {
	connection *pgx.ConnConfig
	timeout    time.Duration
	logger     *slog.Logger
}

// New reads the URL or DSN of the database, as pgx does, and connects to nothing. An empty one is refused.
func New(databaseURL string, cfg Config) (*Migrator, error) {
	if cfg.LockTimeout < 0 {
		return nil, errors.New("migrate: LockTimeout is negative")
	}

	if databaseURL == "" {
		// pgx would take what PGHOST and the like name, which nobody may have meant to be migrated.
		return nil, errors.New("migrate: the URL is empty")
	}

	// Read as a pool's, so that a URL with settings for the pool is good here too.
	pool, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		// The error of pgx masks the password of a well-formed URL.
		return nil, fmt.Errorf("migrate: %w", err)
	}

	connection := pool.ConnConfig
	connection.ConnectTimeout = cmp.Or(connection.ConnectTimeout, connectTimeout)

	// A migration may take as long as it takes.
	connection.RuntimeParams["statement_timeout"] = "0"
	connection.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	if connection.RuntimeParams["application_name"] == "" {
		connection.RuntimeParams["application_name"] = "dixie-migrate"
	}

	m := &Migrator{connection: connection, timeout: cmp.Or(cfg.LockTimeout, DefaultLockTimeout), logger: cfg.Logger}

	if m.logger == nil {
		m.logger = slog.New(slog.DiscardHandler)
	}

	return m, nil
}

// Up applies what the database does not have yet: dixie's migrations and then River's. Each is a
// transaction of its own; when one fails, those before it stay, and the Result says which.
//
// It fails with [ErrLocked] when another process migrates for longer than the lock time-out, and with
// [ErrUnavailable] when there is no database.
func (m *Migrator) Up(ctx context.Context) (Result, error) {
	return m.run(ctx, func(ctx context.Context, s *schema, result *Result) error {
		applied, err := s.goose.Up(ctx)
		result.add(gooseSteps(applied, err))

		if err != nil {
			return fmt.Errorf("migrate up: %w", err)
		}

		river, err := s.river.Migrate(ctx, rivermigrate.DirectionUp, nil)
		result.add(riverSteps(river))

		if err != nil {
			return fmt.Errorf("migrate River up: %w", err)
		}

		return nil
	})
}

// Down takes the newest n of dixie's migrations back. When none of them is left, River's go too: nothing
// else uses them. n below 1 does nothing; n above the number of applied migrations takes back all. What the
// tables hold is lost.
func (m *Migrator) Down(ctx context.Context, n int) (Result, error) {
	return m.run(ctx, func(ctx context.Context, s *schema, result *Result) error {
		for range n {
			step, err := s.goose.Down(ctx)
			if errors.Is(err, goose.ErrNoNextVersion) {
				break
			}

			if err != nil {
				return fmt.Errorf("migrate down: %w", err)
			}

			result.add(gooseSteps([]*goose.MigrationResult{step}, nil))
		}

		version, err := s.goose.GetDBVersion(ctx)
		if err != nil || version > 0 || n < 1 {
			return wrapped("read the version", err)
		}

		river, err := s.river.Migrate(ctx, rivermigrate.DirectionDown, &rivermigrate.MigrateOpts{TargetVersion: -1})
		result.add(riverSteps(river))

		return wrapped("migrate River down", err)
	})
}

// Status lists every migration that this version knows, in the order in which they are applied. It takes
// no lock.
func (m *Migrator) Status(ctx context.Context) ([]Migration, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()

	known, err := s.goose.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate status: %w", err)
	}

	var all []Migration
	for _, k := range known {
		all = append(all, Migration{
			Source: Dixie, Version: k.Source.Version, Name: path.Base(k.Source.Path),
			Applied: k.State == goose.StateApplied, AppliedAt: k.AppliedAt,
		})
	}

	existing, err := s.river.ExistingVersions(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate status of River: %w", err)
	}

	applied := make(map[int]bool, len(existing))
	for _, e := range existing {
		applied[e.Version] = true
	}

	for _, v := range s.river.AllVersions() {
		all = append(all, Migration{Source: River, Version: int64(v.Version), Name: v.Name, Applied: applied[v.Version]})
	}

	return all, nil
}

// Pending says whether Up would have anything to do. It takes no lock.
func (m *Migrator) Pending(ctx context.Context) (bool, error) {
	all, err := m.Status(ctx)
	for _, one := range all {
		if !one.Applied {
			return true, nil
		}
	}

	return false, err
}

// run does the work under the lock, which is held by a connection of its own.
func (m *Migrator) run(ctx context.Context, work func(context.Context, *schema, *Result) error) (result Result, err error) {
	conn, err := pgx.ConnectConfig(ctx, m.connection.Copy())
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}

	// The deferred steps also run when the work panics; closing the connection would let go of the lock too.
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()

		_ = conn.Close(cleanup)
	}()

	// The session only waits while others migrate; it must not be ended for that.
	if _, err := conn.Exec(ctx, keepIdleSession); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}

	unlock, err := lock(ctx, conn, m.timeout)
	if err != nil {
		return Result{}, err
	}

	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()

		err = errors.Join(err, unlock(cleanup))
	}()

	s, err := m.open(ctx)
	if err != nil {
		return result, err
	}
	defer s.close()

	err = work(ctx, s, &result)
	for _, step := range result.Steps {
		m.logger.InfoContext(ctx, "migration", "of", string(step.Source), "version", step.Version,
			"name", step.Name, "duration_ms", step.Duration.Milliseconds())
	}

	return result, err
}

// schema is a database with what migrates it.
type schema struct {
	pool  *pgxpool.Pool
	goose *goose.Provider
	river *rivermigrate.Migrator[pgx.Tx]
}

func (m *Migrator) open(ctx context.Context) (*schema, error) {
	cfg, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}

	cfg.ConnConfig = m.connection.Copy()
	cfg.MaxConns = poolSize

	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}

	s := &schema{pool: pool}
	if err := s.prepare(m.logger); err != nil {
		pool.Close()

		return nil, err
	}

	if err := pool.Ping(ctx); err != nil {
		s.close()

		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}

	return s, nil
}

const (
	connectTimeout = 5 * time.Second

	// keepIdleSession is about a setting that versions before 14 do not have.
	keepIdleSession = `SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'`
)

// poolSize is one connection for goose and one for what it looks up meanwhile.
const poolSize = 2

func (s *schema) prepare(logger *slog.Logger) error {
	sql, err := fs.Sub(files, "sql")
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}

	s.goose, err = goose.NewProvider(goose.DialectPostgres, stdlib.OpenDBFromPool(s.pool), sql,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}

	s.river, err = rivermigrate.New(riverpgxv5.New(s.pool), &rivermigrate.Config{Logger: logger})
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}

	return nil
}

func (s *schema) close() {
	_ = s.goose.Close() // Closes the database/sql side only, which has nothing to tell.
	s.pool.Close()
}

func (r *Result) add(steps []Step) { r.Steps = append(r.Steps, steps...) }

// gooseSteps lists what was applied, also when a later one failed.
func gooseSteps(results []*goose.MigrationResult, err error) []Step {
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		results = partial.Applied
	}

	steps := make([]Step, 0, len(results))
	for _, r := range results {
		steps = append(steps, Step{Source: Dixie, Version: r.Source.Version, Name: path.Base(r.Source.Path), Duration: r.Duration})
	}

	return steps
}

func riverSteps(result *rivermigrate.MigrateResult) []Step {
	if result == nil {
		return nil
	}

	steps := make([]Step, 0, len(result.Versions))
	for _, v := range result.Versions {
		steps = append(steps, Step{Source: River, Version: int64(v.Version), Name: v.Name, Duration: v.Duration})
	}

	return steps
}

func wrapped(doing string, err error) error {
	if err == nil {
		return nil
	}

	return fmt.Errorf("%s: %w", doing, err)
}
