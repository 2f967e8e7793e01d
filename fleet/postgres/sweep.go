package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"dixie/fleet"
)

const (
	lostLease = `t.status IN ` + working + ` AND (t.lease_until IS NULL OR t.lease_until <= now())`
	// An attempt is lost that is due for $1 and neither leased nor with a job that will hand it out, or that
	// has just done so. A job that was handed out long ago, and whose attempt has no lease, died with its
	// process.
	lostJob = `t.status IN ` + waiting + ` AND t.run_at <= now() - $1::interval
		AND (t.lease_until IS NULL OR t.lease_until <= now())
		AND NOT EXISTS (SELECT 1 FROM river_job j WHERE j.id = t.job_id AND (
			j.state IN ('available', 'pending', 'retryable', 'scheduled')
			OR j.state = 'running' AND j.attempted_at > now() - $1::interval))`
	findLostLeases = `SELECT t.id::text FROM fleet_tasks t WHERE ` + lostLease + ` ORDER BY t.lease_until LIMIT $1`
	findLostJobs   = `SELECT t.id::text FROM fleet_tasks t WHERE ` + lostJob + ` ORDER BY t.run_at LIMIT $2`
	// Who is at work on a row, another process that sweeps perhaps, is not waited for.
	lockLostLease = `SELECT ` + columns + ` FROM fleet_tasks t WHERE t.id = $1 AND ` + lostLease + ` FOR UPDATE SKIP LOCKED`
	lockLostJob   = `SELECT ` + columns + ` FROM fleet_tasks t WHERE t.id = $2 AND ` + lostJob + ` FOR UPDATE OF t SKIP LOCKED`
	// Some at a time, so that no transaction is long.
	dropOld = `DELETE FROM fleet_tasks WHERE id IN (SELECT id FROM fleet_tasks
		WHERE status IN ` + ended + ` AND completed_at <= now() - $1::interval ORDER BY completed_at LIMIT $2)`
	setJob = `UPDATE fleet_tasks SET job_id = $2 WHERE id = $1`
)

const (
	// sweepBatch is how many tasks are looked for at a time.
	sweepBatch   = 100
	sweepTimeout = 30 * time.Second
	// jitterShare is the part of the interval by which it varies in either direction.
	jitterShare = 5
)

// sweepAlways sweeps until ctx ends.
func (s *Store) sweepAlways(ctx context.Context) {
	timer := time.NewTimer(s.pause())
	defer timer.Stop()
	outage := outageLog{log: s.log, fails: "fleet_sweep_failed", goes: "fleet_sweeps_again"}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := s.sweep(ctx); ctx.Err() == nil {
			outage.note(ctx, err)
		}
		timer.Reset(s.pause())
	}
}

// pause keeps the processes from sweeping together.
func (s *Store) pause() time.Duration {
	jitter := s.cfg.SweepInterval / jitterShare
	return s.cfg.SweepInterval - jitter + rand.N(2*jitter+1) //nolint:gosec // Jitter is no secret.
}

// sweep gives tasks whose worker is gone to their next attempt, and attempts whose job is gone a job; and it
// drops what was kept for long enough.
func (s *Store) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	return errors.Join(
		s.sweepEach(ctx, s.rescue, findLostLeases, sweepBatch),
		s.sweepEach(ctx, s.dispatchAgain, findLostJobs, s.cfg.Lease, sweepBatch),
		s.drop(ctx),
	)
}

// sweepEach calls f for each id that a query finds.
func (s *Store) sweepEach(ctx context.Context, f func(context.Context, string) error, find string, args ...any) error {
	var ids []string
	err := s.query(ctx, func(batch *pgx.Batch) {
		batch.Queue(find, args...).Query(func(rows pgx.Rows) (err error) {
			ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err //nolint:wrapcheck // The caller says what it was doing.
		})
	})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var problems []error
	for _, id := range ids {
		problems = append(problems, f(ctx, id))
	}
	return errors.Join(problems...)
}

// drop deletes tasks that ended long ago.
func (s *Store) drop(ctx context.Context) error {
	if s.cfg.Retention == 0 {
		return nil
	}
	if _, err := s.cfg.Pool.Exec(ctx, dropOld, s.cfg.Retention, sweepBatch); err != nil {
		return fmt.Errorf("drop old tasks: %w", err)
	}
	return nil
}

// rescue takes a task from a worker that is gone.
func (s *Store) rescue(ctx context.Context, id string) error {
	return s.atomically(ctx, "rescue a task", func(tx pgx.Tx) error {
		r, err := scan(tx.QueryRow(ctx, lockLostLease, id))
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // Another one was quicker.
		}
		if err != nil {
			return err
		}
		t, err := s.commit(ctx, tx, r, func(t fleet.Task) (fleet.Change, error) {
			return fleet.Rescue(t, time.Now().UTC().Truncate(time.Microsecond))
		})
		if err == nil {
			s.log.InfoContext(ctx, "fleet_task_rescued", "task_id", id, "attempt", t.Attempt)
		}
		return err
	})
}

// dispatchAgain gives an attempt that is due, and that nothing would hand out, a new job.
func (s *Store) dispatchAgain(ctx context.Context, id string) error {
	return s.atomically(ctx, "dispatch an attempt again", func(tx pgx.Tx) error {
		r, err := scan(tx.QueryRow(ctx, lockLostJob, s.cfg.Lease, id))
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.deleteJob(ctx, tx, r.jobID); err != nil {
			return err
		}
		jobID, err := s.insertJobs(ctx, tx, r.task, *r.runAt, fleet.Event{})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, setJob, id, jobID); err != nil {
			return fmt.Errorf("note the job: %w", err)
		}
		s.log.InfoContext(ctx, "fleet_attempt_dispatched_again", "task_id", id, "attempt", r.task.Attempt)
		return nil
	})
}
