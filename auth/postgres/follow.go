package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dixie/spansanitizer"
)

const (
	listen = `LISTEN dixie_allowlist`

	// checkTime is how long the version may take. A connection that needs longer is not counted on: its
	// server may hang, or its peer be gone without a word.
	checkTime = time.Second
	// connectTime is short because nothing is read meanwhile.
	connectTime = 2 * time.Second
	// listenPause bounds the time between two attempts to listen, while the pool is polled.
	listenPause = 10 * time.Second
	// rereadInterval is how often the list is read though its version is the same, in case somebody has
	// switched the trigger off.
	rereadInterval = 30 * time.Second
	// gatherTime lets the notifications of many small changes become one reading.
	gatherTime = 20 * time.Millisecond
)

// follower keeps an allowlist in step with the tables. Its goroutine alone uses it.
type follower struct {
	*Allowlist

	readAt time.Time
	// away and polling say what the log was told last: that the database does not answer, or that it
	// answers through the pool only.
	away, polling bool
}

// follow listens, and polls through the pool for as long as it cannot.
func (a *Allowlist) follow(ctx context.Context) {
	defer close(a.done)
	f := &follower{Allowlist: a}
	tick := time.NewTicker(a.poll)
	defer tick.Stop()
	var (
		listenAt time.Time
		deaf     error
	)
	pause := a.poll
	for ctx.Err() == nil {
		if !time.Now().Before(listenAt) {
			var listened bool
			listened, deaf = f.listen(ctx)
			if pause = min(2*pause, listenPause); listened {
				pause = a.poll
			}
			listenAt = time.Now().Add(pause)
		}
		err := f.look(ctx, a.pool)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !f.away:
			f.away, f.polling = true, false
			a.log.WarnContext(ctx, "allowlist cannot be read, the list in memory stays", "error", spansanitizer.TextOf(err))
		case err == nil && f.away:
			f.isBack(ctx)
			listenAt = time.Time{}
			continue
		case err == nil && !f.polling:
			f.polling = true
			a.log.WarnContext(ctx, "changes of the allowlist are not notified, it is polled",
				"interval_ms", a.poll.Milliseconds(), "error", spansanitizer.TextOf(deaf))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (f *follower) isBack(ctx context.Context) {
	if f.away {
		f.away = false
		f.log.InfoContext(ctx, "allowlist can be read again")
	}
}

// listen follows the list on a connection of its own until that fails, which it tells at the latest when a
// comparison of versions is due. listened says whether it had worked.
func (f *follower) listen(ctx context.Context) (listened bool, err error) {
	conn, err := f.connect(ctx)
	if err != nil {
		return false, err
	}
	defer disconnect(ctx, conn)
	if err := f.read(ctx, conn); err != nil {
		return false, fmt.Errorf("read: %w", err)
	}
	f.isBack(ctx)
	if f.polling {
		f.polling = false
		f.log.InfoContext(ctx, "changes of the allowlist are notified again")
	}
	for {
		waiting, cancel := context.WithTimeout(ctx, f.poll)
		_, err := conn.WaitForNotification(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			return true, ctx.Err()
		case conn.IsClosed():
			return true, fmt.Errorf("wait: %w", err)
		case err == nil:
			gather(ctx, conn)
		}
		// A wait that nothing came of leaves the connection as it was.
		if err := f.look(ctx, conn); err != nil {
			return true, err
		}
	}
}

// connect makes a connection that listens, as the pool would make one.
func (f *follower) connect(ctx context.Context) (_ *pgx.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	pool := f.pool.Config()
	cfg := pool.ConnConfig
	cfg.OnNotification = nil // Else they would not come to who waits for them.
	if pool.BeforeConnect != nil {
		if err := pool.BeforeConnect(ctx, cfg); err != nil {
			return nil, fmt.Errorf("before connecting: %w", err)
		}
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if pool.AfterConnect != nil {
		err = pool.AfterConnect(ctx, conn)
	}
	if err == nil {
		_, err = conn.Exec(ctx, listen)
	}
	if err != nil {
		disconnect(ctx, conn)
		return nil, fmt.Errorf("listen: %w", err)
	}
	return conn, nil
}

// disconnect leaves nothing behind when the following ends; else a connection that does not answer may
// take its time to go.
func disconnect(ctx context.Context, conn *pgx.Conn) {
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTime)
	defer cancel()
	_ = conn.Close(cleanup)
	if ctx.Err() == nil {
		return
	}
	select {
	case <-conn.PgConn().CleanupDone():
	case <-cleanup.Done():
	}
}

// gather waits for more notifications after the first, and drops those that have come: one reading does.
func gather(ctx context.Context, conn *pgx.Conn) {
	pause := time.NewTimer(gatherTime)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return
	}
	noWait, cancel := context.WithCancel(ctx)
	cancel()
	for {
		if _, err := conn.WaitForNotification(noWait); err != nil {
			return
		}
	}
}

// look reads the list if it has another version, or has not been read for long.
func (f *follower) look(ctx context.Context, db querier) error {
	if time.Since(f.readAt) < f.reread {
		checking, cancel := context.WithTimeout(ctx, checkTime)
		defer cancel()
		var version int64
		if err := db.QueryRow(checking, readVersion).Scan(&version); err != nil {
			return fmt.Errorf("read the version: %w", err)
		}
		if version == f.current.Load().version {
			return nil
		}
	}
	if err := f.read(ctx, db); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

func (f *follower) read(ctx context.Context, db querier) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if err := f.Allowlist.read(ctx, db); err != nil {
		return err
	}
	f.readAt = time.Now()
	return nil
}
