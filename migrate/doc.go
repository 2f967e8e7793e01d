// Package migrate brings a PostgreSQL database to the schema that dixie's stores need: this package's own
// SQL files, run by goose, and the tables of River, the job queue of fleet/postgres.
//
// Any number of processes may start a run at once. One of them migrates, under an advisory lock that ends
// with its connection; the others wait for it and then find nothing to do. The lock belongs to a session,
// so the database must be reached directly or through a pooler in session mode.
//
//	m, err := migrate.New(databaseURL, migrate.Config{})
//	if err != nil {
//		return err
//	}
//	result, err := m.Up(ctx)
//
// A [Migrator] keeps no connection open between calls and is safe for concurrent use.
package migrate

import "errors"

// Errors of the package. Compare with [errors.Is].
var (
	// ErrLocked says that another process held the migration lock for as long as this one was willing to
	// wait. Its text names the holder and how to see it.
	ErrLocked = errors.New("migrate: another process holds the migration lock")

	// ErrUnavailable says that the database could not be reached or broke the connection off.
	ErrUnavailable = errors.New("migrate: database is not available")
)
