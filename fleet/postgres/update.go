package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dixie/fleet"
)

const (
	// A task that has ended or goes to its next attempt belongs to no worker. One that somebody else than a
	// worker of a store has set to work gets a lease that nobody renews.
	writeTask = `UPDATE fleet_tasks SET status = $2, version = $3, attempt = $4, retry_count = $5, prompt_tokens = $6,
			reference = $7, pr_number = $8, failure = $9, updated_at = $10, spawned_at = $11, completed_at = $12,
			history = $13, run_at = $14, job_id = $15,
			lease_until = CASE WHEN $16::boolean THEN NULL
				WHEN $2 IN ` + working + ` THEN coalesce(lease_until, now() + $17::interval) ELSE lease_until END,
			leased_by = CASE WHEN $16::boolean THEN NULL ELSE leased_by END
		WHERE id = $1 AND version = $3 - 1`
	insertRelease = `INSERT INTO budget_ledger (operator_id, day, task_id, kind, amount_micro_usd)
		SELECT operator_id, day, task_id, 'release', -amount_micro_usd FROM budget_ledger
		WHERE task_id = $1 AND kind = 'charge'
		ON CONFLICT (task_id, kind) DO NOTHING`
)

// Update implements [fleet.Tasks].
func (s *Store) Update(
	ctx context.Context, target fleet.Target, change func(fleet.Task) (fleet.Change, error),
) (fleet.Task, error) {
	if !sees(target.Scope, target.ID) {
		return fleet.Task{}, fleet.ErrNotFound
	}
	var out fleet.Task
	err := s.atomically(ctx, "update a task", func(tx pgx.Tx) error {
		r, err := scan(tx.QueryRow(ctx, lockTask, target.ID, target.Scope.All, target.Scope.Operator))
		if err != nil {
			return missing(err)
		}
		if err := fence(target, r.task.Attempt, r.task.Status); err != nil {
			return err
		}
		out, err = s.commit(ctx, tx, r, change)
		return err
	})
	if err != nil {
		return fleet.Task{}, err
	}
	return out, nil
}

// fence refuses a write for an attempt that is over.
func fence(target fleet.Target, attempt int, status fleet.Status) error {
	if target.Attempt != 0 && (target.Attempt != attempt || status.Terminal()) {
		return &verdict{fleet.ErrFenced}
	}
	return nil
}

// commit writes what a pure function makes of a task that is locked.
func (s *Store) commit(
	ctx context.Context, tx pgx.Tx, r record, change func(fleet.Task) (fleet.Change, error),
) (fleet.Task, error) {
	c, err := change(r.task.Clone())
	if err != nil {
		return fleet.Task{}, &verdict{err}
	}
	before := r.task.Attempt
	c.Apply(&r.task)
	r.task = stored(r.task)
	over := r.task.Status.Terminal()
	moved := over || r.task.Attempt != before
	if over {
		c.RunAt = time.Time{}
	}
	if moved || !c.RunAt.IsZero() {
		// The job of the attempt that is over, or in whose place another one comes, goes, also while it is at
		// work: nothing is left behind by a worker that dies just now.
		if err := s.deleteJob(ctx, tx, r.jobID); err != nil {
			return fleet.Task{}, err
		}
		r.jobID, r.runAt = nil, orNull(c.RunAt)
	}
	jobID, err := s.insertJobs(ctx, tx, r.task, c.RunAt, c.Event)
	if err != nil {
		return fleet.Task{}, err
	}
	if jobID != nil {
		r.jobID = jobID
	}
	if err := s.write(ctx, tx, r, moved, c.Release); err != nil {
		return fleet.Task{}, err
	}
	return r.task, nil
}

// errVersion cannot happen: the row is locked.
var errVersion = errors.New("the version has changed under the lock")

func (s *Store) write(ctx context.Context, tx pgx.Tx, r record, moved, release bool) error {
	t := r.task
	data, err := encode(t)
	if err != nil {
		return err
	}
	batch := &pgx.Batch{}
	batch.Queue(writeTask, t.ID, t.Status, t.Version, t.Attempt, t.RetryCount, t.PromptTokens,
		t.Reference, t.PRNumber, data.failure, t.UpdatedAt, orNull(t.SpawnedAt), orNull(t.CompletedAt),
		data.history, r.runAt, r.jobID, moved, s.cfg.Lease).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != 1 {
			return errVersion
		}
		return nil
	})
	if release {
		batch.Queue(insertRelease, t.ID)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
