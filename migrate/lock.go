package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// LockKey is the key of the advisory lock: the first four bytes of the SHA-256 of
	// "dixie-bff:migration", big endian, without the top bit.
	LockKey = 2084904821

	// HolderQuery shows who holds the lock, to an operator who is connected to the same database.
	HolderQuery = `SELECT a.pid, a.application_name, a.client_addr, a.backend_start, a.state ` +
		`FROM pg_locks l JOIN pg_stat_activity a USING (pid) ` +
		`WHERE l.locktype = 'advisory' AND l.classid = 0 AND l.objid = 2084904821 AND l.objsubid = 1 AND l.granted ` +
		`AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`

	// DefaultLockTimeout is how long a run waits for the lock when nothing else is said.
	DefaultLockTimeout = 30 * time.Second

	// cleanupTimeout bounds what must be done although the run has ended.
	cleanupTimeout = 5 * time.Second

	lockNotAvailable = "55P03"
)

// lock takes the migration lock for the session of conn, waiting for at most the time-out. The session's
// lock_timeout is back at its default when lock returns, on every path on which the session still lives:
// statements that the session runs later must not inherit a limit that was meant for the wait.
func lock(ctx context.Context, conn *pgx.Conn, timeout time.Duration) (unlock func(context.Context) error, err error) {
	if _, err := conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", max(1, timeout.Milliseconds()))); err != nil {
		return nil, fmt.Errorf("%w: set lock_timeout: %w", ErrUnavailable, err)
	}

	_, lockErr := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(LockKey))

	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()

	if _, err := conn.Exec(cleanup, "RESET lock_timeout"); err != nil {
		// A session that cannot be reset is not handed on, and the lock ends with it.
		_ = conn.Close(cleanup)

		return nil, fmt.Errorf("%w: wait for the migration lock: %w", ErrUnavailable, errors.Join(lockErr, err))
	}

	if lockErr != nil {
		if pgErr, ok := errors.AsType[*pgconn.PgError](lockErr); ok && pgErr.Code == lockNotAvailable {
			return nil, lockedError(cleanup, conn, timeout)
		}

		return nil, fmt.Errorf("%w: wait for the migration lock: %w", ErrUnavailable, lockErr)
	}

	return func(ctx context.Context) error {
		var held bool
		if err := conn.QueryRow(ctx, "SELECT pg_advisory_unlock($1)", int64(LockKey)).Scan(&held); err != nil {
			return fmt.Errorf("%w: release the migration lock: %w", ErrUnavailable, err)
		}

		if !held {
			return fmt.Errorf("%w: the migration lock was lost during the run", ErrUnavailable)
		}

		return nil
	}, nil
}

// lockedError says who holds the lock, as far as the database tells, and what an operator can do.
func lockedError(ctx context.Context, conn *pgx.Conn, timeout time.Duration) error {
	return fmt.Errorf("%w for more than %s (advisory lock %d); %s. See it with: %s; "+
		"wait for it if it is migrating, or end it with SELECT pg_terminate_backend(pid)",
		ErrLocked, timeout, LockKey, holder(ctx, conn), HolderQuery)
}

func holder(ctx context.Context, conn *pgx.Conn) string {
	var (
		pid         int
		application string
		address     *string
		since       time.Time
	)

	row := conn.QueryRow(ctx, "SELECT pid, application_name, host(client_addr), backend_start FROM ("+HolderQuery+") h LIMIT 1")
	if err := row.Scan(&pid, &application, &address, &since); err != nil {
		return "its holder has just let go, or may not be seen by this role"
	}

	text := []string{fmt.Sprintf("it is held by backend %d", pid)}
	if application != "" {
		text = append(text, "of "+application)
	}

	if address != nil {
		text = append(text, "from "+*address)
	}

	return strings.Join(append(text, "connected since "+since.UTC().Format(time.RFC3339)), " ")
}
