package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dixie/fleet"
)

const (
	lockOperator = `SELECT pg_advisory_xact_lock(hashtextextended('fleet:' || $1::text, 0))`
	// Recent is created after $2, today is $3. It is a statement of its own after the lock, so that it sees
	// what the last one who had the lock committed.
	takeSnapshot = `SELECT
		(SELECT count(*) FROM fleet_tasks WHERE operator_id = $1 AND status IN ` + active + `),
		(SELECT count(*) FROM fleet_tasks WHERE operator_id = $1 AND created_at > $2),
		(SELECT count(*) FROM fleet_tasks WHERE operator_id = $1 AND created_at > $2 AND status IN ` + active + `),
		(SELECT coalesce(sum(amount_micro_usd), 0)::bigint FROM budget_ledger WHERE operator_id = $1 AND day = $3)`
	findKey = `SELECT ` + columns + ` FROM fleet_idempotency i JOIN fleet_tasks t ON t.id = i.task_id
		WHERE i.operator_id = $1 AND i.idempotency_key = $2`
	insertTask = `INSERT INTO fleet_tasks (id, operator_id, tier, task_type, description, repository, base_branch,
			context_overrides, agent_type, model, branch, context_hash, status, version, attempt,
			retry_count, max_retries, timeout, prompt_tokens, reference, pr_number, failure,
			admission_limit, cost_micro_usd, cost, created_at, updated_at, spawned_at, completed_at,
			history, run_at, job_id, traceparent, tracestate)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
			$17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, nullif($33, ''), nullif($34, ''))`
	insertCharge = `INSERT INTO budget_ledger (operator_id, day, task_id, kind, amount_micro_usd)
		VALUES ($1, $2, $3, 'charge', $4)`
	insertKey = `INSERT INTO fleet_idempotency (operator_id, idempotency_key, task_id) VALUES ($1, $2, $3)`
)

// recent is what the policy counts as such.
const recent = 24 * time.Hour

// Admit implements [fleet.Tasks]. An idempotency key is kept exactly as long as its task: until that is
// deleted, or for [Config].Retention after its end.
func (s *Store) Admit(
	ctx context.Context, in fleet.NewTask, decide func(fleet.Snapshot) fleet.Decision,
) (fleet.Admission, error) {
	const doing = "admit a task"
	leave, err := s.operators.enter(ctx, in.Task.Operator)
	if err != nil {
		return fleet.Admission{}, interpret(ctx, doing, err)
	}
	defer leave()
	var out fleet.Admission
	err = s.atomically(ctx, doing, func(tx pgx.Tx) error {
		var err error
		out, err = s.admit(ctx, tx, in, decide)
		return err
	})
	if err != nil {
		return fleet.Admission{}, err
	}
	return out, nil
}

func (s *Store) admit(
	ctx context.Context, tx pgx.Tx, in fleet.NewTask, decide func(fleet.Snapshot) fleet.Decision,
) (fleet.Admission, error) {
	counted, earlier, err := prepare(ctx, tx, in)
	switch {
	case err != nil:
		return fleet.Admission{}, err
	case earlier != nil && earlier.task.ContextHash != in.Task.ContextHash:
		return fleet.Admission{}, &verdict{fleet.ErrIdempotencyConflict}
	case earlier != nil:
		return fleet.Admission{Task: earlier.task, Snapshot: counted, Replayed: true}, nil
	}
	out := fleet.Admission{Decision: decide(counted), Snapshot: counted}
	if !out.Decision.Admit {
		return out, nil
	}
	t := stored(in.Task.Clone())
	t.Version = 1
	t.Cost, t.CostMicroUSD, t.Limit = out.Decision.Cost, out.Decision.CostMicroUSD, out.Decision.Limit
	r := record{task: t, runAt: &t.CreatedAt}
	if r.jobID, err = s.insertJobs(ctx, tx, t, t.CreatedAt, in.Event); err != nil {
		return fleet.Admission{}, err
	}
	if err := insert(ctx, tx, r, in.IdempotencyKey); err != nil {
		return fleet.Admission{}, err
	}
	out.Task = t
	return out, nil
}

// prepare locks the operator, counts, and looks for an earlier task of the same key.
func prepare(ctx context.Context, tx pgx.Tx, in fleet.NewTask) (counted fleet.Snapshot, earlier *record, err error) {
	batch := &pgx.Batch{}
	batch.Queue(lockOperator, in.Task.Operator)
	queueSnapshot(batch, in.Task.Operator, in.Task.CreatedAt, &counted)
	if in.IdempotencyKey != "" {
		batch.Queue(findKey, in.Task.Operator, in.IdempotencyKey).QueryRow(func(row pgx.Row) error {
			found, err := scan(row)
			switch {
			case err == nil:
				earlier = &found
				return nil
			case errors.Is(err, pgx.ErrNoRows):
				return nil
			default:
				return err
			}
		})
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fleet.Snapshot{}, nil, fmt.Errorf("lock and count: %w", err)
	}
	return counted, earlier, nil
}

func queueSnapshot(batch *pgx.Batch, operator string, now time.Time, into *fleet.Snapshot) {
	batch.Queue(takeSnapshot, operator, now.Add(-recent), day(now)).QueryRow(func(row pgx.Row) error {
		return row.Scan(&into.Active, &into.RecentTotal, &into.RecentActive, &into.SpentMicroUSD)
	})
}

// day is the UTC day of a moment, as the driver takes a date.
func day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// insert writes the task, its charge and its key.
func insert(ctx context.Context, tx pgx.Tx, r record, key string) error {
	t := r.task
	data, err := encode(t)
	if err != nil {
		return err
	}
	batch := &pgx.Batch{}
	batch.Queue(insertTask,
		t.ID, t.Operator, t.Tier, t.TaskType, t.Description, t.Repository, t.BaseBranch,
		data.overrides, t.AgentType, t.Model, t.Branch, t.ContextHash, t.Status, t.Version, t.Attempt,
		t.RetryCount, t.MaxRetries, t.Timeout, t.PromptTokens, t.Reference, t.PRNumber, data.failure,
		t.Limit, t.CostMicroUSD, data.cost, t.CreatedAt, t.UpdatedAt, orNull(t.SpawnedAt), orNull(t.CompletedAt),
		data.history, r.runAt, r.jobID, t.TraceParent, t.TraceState)
	batch.Queue(insertCharge, t.Operator, day(t.CreatedAt), t.ID, t.CostMicroUSD)
	if key != "" {
		batch.Queue(insertKey, t.Operator, key, t.ID)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	return nil
}

// Snapshot implements [fleet.Tasks].
func (s *Store) Snapshot(ctx context.Context, operator string, now time.Time) (fleet.Snapshot, error) {
	var out fleet.Snapshot
	err := s.query(ctx, func(batch *pgx.Batch) { queueSnapshot(batch, operator, now, &out) })
	if err != nil {
		return fleet.Snapshot{}, interpret(ctx, "count an operator's tasks", err)
	}
	return out, nil
}
