package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dixie/fleet"
)

const (
	// A log is locked by its task's row, like all that belongs to a task.
	lockLog = `SELECT t.attempt, t.status FROM fleet_tasks t WHERE` + inScope + `FOR NO KEY UPDATE`
	// $2 is how many lines and $3 how many bytes there are in the lines of $4.
	appendLines = `INSERT INTO fleet_task_log (task_id, end_line, end_bytes, lines)
		SELECT $1::uuid, coalesce(max(l.end_line), 0) + $2, coalesce(max(l.end_bytes), 0) + $3, $4::text[]
		FROM (SELECT end_line, end_bytes FROM fleet_task_log WHERE task_id = $1 ORDER BY end_line DESC LIMIT 1) l`
	// What is dropped ended before the last $2 lines, or before the last $3 bytes, began.
	dropLines = `DELETE FROM fleet_task_log l USING (
			SELECT end_line, end_bytes FROM fleet_task_log WHERE task_id = $1 ORDER BY end_line DESC LIMIT 1
		) newest
		WHERE l.task_id = $1 AND (l.end_line <= newest.end_line - $2 OR l.end_bytes < newest.end_bytes - $3)`
	findTask = `SELECT 1 FROM fleet_tasks t WHERE` + inScope
	// The batches that the last $4 lines are in.
	readLines = `SELECT l.lines FROM fleet_tasks t JOIN fleet_task_log l ON l.task_id = t.id WHERE` + inScope + `
			AND l.end_line > (SELECT max(end_line) FROM fleet_task_log WHERE task_id = $1) - $4
		ORDER BY l.end_line`
)

// AppendLog implements [fleet.Logs]. The lines are one row; whole rows are dropped once all of their lines
// are over the bounds, so that up to one batch more is kept than is shown.
func (s *Store) AppendLog(ctx context.Context, target fleet.Target, lines []string) error {
	if !sees(target.Scope, target.ID) {
		return fleet.ErrNotFound
	}
	lines = clean(newest(lines, fleet.MaxLogLines))
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	return s.atomically(ctx, "append to a log", func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue(lockLog, target.ID, target.Scope.All, target.Scope.Operator).QueryRow(func(row pgx.Row) error {
			var (
				attempt int
				status  fleet.Status
			)
			if err := row.Scan(&attempt, &status); err != nil {
				return missing(err)
			}
			return fence(target, attempt, status)
		})
		if len(lines) > 0 {
			batch.Queue(appendLines, target.ID, len(lines), size, lines)
			batch.Queue(dropLines, target.ID, fleet.MaxLogLines, fleet.MaxLogBytes)
		}
		return tx.SendBatch(ctx, batch).Close()
	})
}

// clean leaves out the one character that is valid and that the database does not take.
func clean(lines []string) []string {
	for i, line := range lines {
		if strings.IndexByte(line, 0) >= 0 {
			out := append([]string(nil), lines...)
			for j := i; j < len(out); j++ {
				out[j] = strings.ReplaceAll(out[j], "\x00", "")
			}
			return out
		}
	}
	return lines
}

// newest returns the last lines within the bounds of a log, n at most.
func newest(lines []string, n int) []string {
	first, size := len(lines), 0
	for first > 0 && len(lines)-first < min(n, fleet.MaxLogLines) {
		if size += len(lines[first-1]); size > fleet.MaxLogBytes {
			break
		}
		first--
	}
	return lines[first:]
}

// Log implements [fleet.Logs].
func (s *Store) Log(ctx context.Context, scope fleet.Scope, id string, n int) ([]string, error) {
	if !sees(scope, id) {
		return nil, fleet.ErrNotFound
	}
	var lines []string
	n = max(0, min(n, fleet.MaxLogLines))
	err := s.query(ctx, func(batch *pgx.Batch) {
		batch.Queue(findTask, id, scope.All, scope.Operator).QueryRow(func(row pgx.Row) error {
			var one int
			return row.Scan(&one)
		})
		batch.Queue(readLines, id, scope.All, scope.Operator, n).Query(func(rows pgx.Rows) error {
			parts, err := pgx.CollectRows(rows, pgx.RowTo[[]string])
			lines = slices.Concat(parts...)
			return err //nolint:wrapcheck // The caller says what it was doing.
		})
	})
	if err != nil {
		return nil, interpret(ctx, "read a log", missing(err))
	}
	return newest(lines, n), nil
}
