package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"dixie/fleet"
	"dixie/spansanitizer"
)

const (
	// A lease is given for an attempt that waits and that nobody has a lease on.
	takeLease = `UPDATE fleet_tasks SET lease_until = now() + $4::interval, leased_by = $3
		WHERE id = $1 AND attempt = $2 AND status IN ` + waiting + ` AND (lease_until IS NULL OR lease_until <= now())
		RETURNING coalesce(run_at, created_at)`
	isWaiting = `SELECT EXISTS (SELECT 1 FROM fleet_tasks WHERE id = $1 AND attempt = $2 AND status IN ` + waiting + `)`
	// A row that somebody has locked just now is renewed the next time.
	renewLeases = `UPDATE fleet_tasks t SET lease_until = now() + $2::interval
		FROM (SELECT id FROM fleet_tasks WHERE id = ANY ($3::uuid[]) AND leased_by = ANY ($1::text[]) FOR UPDATE SKIP LOCKED) mine
		WHERE t.id = mine.id RETURNING t.leased_by`
	readLeases = `SELECT leased_by FROM fleet_tasks WHERE id = ANY ($2::uuid[]) AND leased_by = ANY ($1::text[])`
	// A task that is left while it is at work is free to be rescued; any other waits for its job.
	releaseLease = `UPDATE fleet_tasks SET leased_by = NULL, lease_until = CASE WHEN status IN ` + working + ` THEN now() END
		WHERE id = $1 AND leased_by = $2`
)

// safety is the part of a lease at whose beginning a worker gives up that could not renew: early enough to
// have stopped when another one begins.
const safety = 10

// lease is this process's hold on a task.
type lease struct {
	task   string
	name   string
	cancel context.CancelCauseFunc // Of the work.
	giveUp *time.Timer             // Cancels when the lease was not renewed in time.
}

// keeper renews the leases of this process.
type keeper struct {
	store *Store
	// patience is how long a lease lasts for its worker.
	patience time.Duration

	mu   sync.Mutex
	held map[string]*lease // GUARDED_BY(mu); by name
}

// What take says of an attempt that it does not give away.
var (
	// errOver: nobody needs the attempt any more, or a worker is at it.
	errOver = errors.New("the attempt does not wait")
	// errTaken: a worker is about to begin, or has died just before; the attempt still waits.
	errTaken = errors.New("the attempt is leased")
)

// take gives the attempt to its worker, whose work cancel ends, and says when the attempt was due. It is
// not given up halfway: nobody would know whether the lease was given.
func (k *keeper) take(ctx context.Context, a fleet.Attempt, cancel context.CancelCauseFunc) (*lease, time.Time, error) {
	l := &lease{
		task: a.TaskID, cancel: cancel,
		name: fmt.Sprintf("%s/%d", k.store.name, k.store.last.Add(1)),
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer done()
	asked := time.Now()
	var due time.Time
	err := k.store.cfg.Pool.QueryRow(ctx, takeLease, a.TaskID, a.Number, l.name, k.store.cfg.Lease).Scan(&due)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, time.Time{}, k.refusal(ctx, a)
	case err != nil:
		return nil, time.Time{}, interpret(ctx, "take a lease", err)
	}
	// The database has counted from a later moment.
	l.giveUp = time.AfterFunc(k.patience-time.Since(asked), func() { cancel(fleet.ErrStopped) })
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[l.name] = l
	return l, due.UTC(), nil
}

// refusal says why there was no lease.
func (k *keeper) refusal(ctx context.Context, a fleet.Attempt) error {
	var waits bool
	if err := k.store.cfg.Pool.QueryRow(ctx, isWaiting, a.TaskID, a.Number).Scan(&waits); err != nil {
		return interpret(ctx, "look at an attempt", err)
	}
	if waits {
		return errTaken
	}
	return errOver
}

// release gives a lease back. When that fails, it runs out.
func (k *keeper) release(ctx context.Context, l *lease) {
	k.forget(l.name)
	if _, err := k.store.cfg.Pool.Exec(ctx, releaseLease, l.task, l.name); err != nil {
		k.store.log.WarnContext(ctx, "fleet_lease_not_released", "task_id", l.task, "error", spansanitizer.TextOf(err))
	}
}

func (k *keeper) forget(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.held[name]; l != nil {
		l.giveUp.Stop()
		delete(k.held, name)
	}
}

// keep renews until ctx ends. After a failure it does not wait as long.
func (k *keeper) keep(ctx context.Context) {
	const sooner = 5
	timer := time.NewTimer(k.store.cfg.RenewInterval)
	defer timer.Stop()
	outage := outageLog{log: k.store.log, fails: "fleet_leases_not_renewed", goes: "fleet_leases_renewed_again"}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pause := k.store.cfg.RenewInterval
		if err := k.renew(ctx); ctx.Err() == nil {
			outage.note(ctx, err)
			if err != nil {
				pause /= sooner
			}
		}
		timer.Reset(pause)
	}
}

// renew renews all leases at once, and ends the work of those that are lost.
func (k *keeper) renew(ctx context.Context) error {
	names, tasks := k.names()
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, k.store.cfg.RenewInterval)
	defer cancel()
	asked := time.Now()
	renewed, kept := make(map[string]bool), make(map[string]bool)
	collect := func(into map[string]bool) func(pgx.Rows) error {
		return func(rows pgx.Rows) error {
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			for _, name := range names {
				into[name] = true
			}
			return err //nolint:wrapcheck // The caller says what it was doing.
		}
	}
	err := k.store.query(ctx, func(batch *pgx.Batch) {
		batch.Queue(renewLeases, names, k.store.cfg.Lease, tasks).Query(collect(renewed))
		batch.Queue(readLeases, names, tasks).Query(collect(kept))
	})
	if err != nil {
		return fmt.Errorf("renew leases: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range names {
		l := k.held[name]
		switch {
		case l == nil: // It was given back meanwhile.
		case renewed[name]:
			l.giveUp.Reset(k.patience - time.Since(asked))
		case !kept[name]:
			l.giveUp.Stop()
			l.cancel(fleet.ErrStopped)
			delete(k.held, name)
		}
	}
	return nil
}

func (k *keeper) names() (names, tasks []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, l := range k.held {
		names, tasks = append(names, name), append(tasks, l.task)
	}
	return names, tasks
}
