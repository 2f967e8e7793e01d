package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dixie/fleet"
)

// Every statement on behalf of a caller has the scope in its condition: $2 says that it is everybody, $3 is
// the operator.
const (
	inScope   = ` t.id = $1 AND ($2::boolean OR t.operator_id = $3) `
	readTask  = `SELECT ` + columns + ` FROM fleet_tasks t WHERE` + inScope
	lockTask  = readTask + `FOR UPDATE`
	countAll  = `SELECT status, count(*) FROM fleet_tasks GROUP BY status`
	countOf   = `SELECT status, count(*) FROM fleet_tasks WHERE operator_id = $1 GROUP BY status`
	newestAll = `SELECT ` + columns + ` FROM fleet_tasks t ORDER BY t.created_at DESC, t.id DESC LIMIT $1`
	newestOf  = `SELECT ` + columns + ` FROM fleet_tasks t WHERE t.operator_id = $2
		ORDER BY t.created_at DESC, t.id DESC LIMIT $1`
	deleteTask = `DELETE FROM fleet_tasks t WHERE` + inScope
	// The latest admission of an operator is that of its newest task; those with active tasks have one.
	readHealth = `WITH busy AS (
			SELECT operator_id, count(*) AS active FROM fleet_tasks WHERE status IN ` + active + ` GROUP BY operator_id
		)
		SELECT (SELECT count(*) FROM fleet_tasks), coalesce(sum(busy.active), 0)::bigint,
			count(*) FILTER (WHERE busy.active > newest.admission_limit)
		FROM busy CROSS JOIN LATERAL (
			SELECT t.admission_limit FROM fleet_tasks t WHERE t.operator_id = busy.operator_id
			ORDER BY t.created_at DESC, t.id DESC LIMIT 1
		) newest`
)

// query runs statements that only read, in one round trip; again if the connection turns out to be dead
// before anything was sent.
func (s *Store) query(ctx context.Context, queue func(*pgx.Batch)) error {
	for again := true; ; again = false {
		batch := &pgx.Batch{}
		queue(batch)
		err := s.cfg.Pool.SendBatch(ctx, batch).Close()
		if err == nil || !again || !pgconn.SafeToRetry(err) || ctx.Err() != nil {
			return err //nolint:wrapcheck // The callers say what they were doing.
		}
	}
}

// sees says whether there can be such a task in the scope at all.
func sees(scope fleet.Scope, id string) bool {
	return isID(id) && (scope.All || scope.Operator != "")
}

// Get implements [fleet.Tasks].
func (s *Store) Get(ctx context.Context, scope fleet.Scope, id string) (fleet.Task, error) {
	if !sees(scope, id) {
		return fleet.Task{}, fleet.ErrNotFound
	}
	var found record
	err := s.query(ctx, func(batch *pgx.Batch) {
		batch.Queue(readTask, id, scope.All, scope.Operator).QueryRow(func(row pgx.Row) error {
			var err error
			found, err = scan(row)
			return err
		})
	})
	if err != nil {
		return fleet.Task{}, interpret(ctx, "read a task", missing(err))
	}
	return found.task, nil
}

// missing turns the absence of a row into the store's verdict.
func missing(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return &verdict{fleet.ErrNotFound}
	}
	return err
}

// List implements [fleet.Tasks]. Tasks of the same microsecond are in the order of their ids.
func (s *Store) List(ctx context.Context, scope fleet.Scope, limit int) (fleet.Listing, error) {
	out := fleet.Listing{Counts: make(map[fleet.Status]int)}
	count, newest, of := countAll, newestAll, []any{}
	if !scope.All {
		if scope.Operator == "" {
			return out, nil
		}
		count, newest, of = countOf, newestOf, []any{scope.Operator}
	}
	err := s.query(ctx, func(batch *pgx.Batch) {
		batch.Queue(count, of...).Query(func(rows pgx.Rows) error {
			var (
				status fleet.Status
				n      int
			)
			_, err := pgx.ForEachRow(rows, []any{&status, &n}, func() error {
				out.Counts[status] = n
				return nil
			})
			return err //nolint:wrapcheck // The caller says what it was doing.
		})
		batch.Queue(newest, append([]any{max(0, limit)}, of...)...).Query(func(rows pgx.Rows) (err error) {
			out.Tasks, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (fleet.Task, error) {
				r, err := scan(row)
				return r.task, err
			})
			return err //nolint:wrapcheck // The caller says what it was doing.
		})
	})
	if err != nil {
		return fleet.Listing{}, interpret(ctx, "list tasks", err)
	}
	return out, nil
}

// Delete implements [fleet.Tasks].
func (s *Store) Delete(ctx context.Context, scope fleet.Scope, id string) error {
	if !sees(scope, id) {
		return fleet.ErrNotFound
	}
	return s.atomically(ctx, "delete a task", func(tx pgx.Tx) error {
		r, err := scan(tx.QueryRow(ctx, lockTask, id, scope.All, scope.Operator))
		if err != nil {
			return missing(err)
		}
		if !r.task.Status.CanDelete() {
			return &verdict{&fleet.ConflictError{Status: r.task.Status}}
		}
		_, err = tx.Exec(ctx, deleteTask, id, scope.All, scope.Operator)
		return err //nolint:wrapcheck // It is wrapped where the transaction ends.
	})
}

// Health implements [fleet.Tasks].
func (s *Store) Health(ctx context.Context) (fleet.Health, error) {
	var out fleet.Health
	err := s.query(ctx, func(batch *pgx.Batch) {
		batch.Queue(readHealth).QueryRow(func(row pgx.Row) error {
			return row.Scan(&out.Total, &out.Active, &out.OverLimit)
		})
	})
	if err != nil {
		return fleet.Health{}, interpret(ctx, "count all tasks", err)
	}
	return out, nil
}
