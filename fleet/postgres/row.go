package postgres

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"dixie/fleet"
)

// Sets of states as SQL has them. The indexes of the tables have the same lists.
const (
	active  = `('proposed', 'spawning', 'running', 'pr_created', 'reviewing', 'ready', 'retrying')`
	ended   = `('merged', 'abandoned', 'completed', 'cancelled')`
	waiting = `('proposed', 'retrying')`
	working = `('spawning', 'running')`
)

// columns are those of a record, in the order of its scan.
const columns = `t.id::text, t.operator_id, t.tier, t.task_type, t.description, t.repository, t.base_branch,
	t.context_overrides, t.agent_type, t.model, t.branch, t.context_hash, t.status, t.version, t.attempt,
	t.retry_count, t.max_retries, t.timeout, t.prompt_tokens, t.reference, t.pr_number, t.failure,
	t.admission_limit, t.cost_micro_usd, t.cost, t.created_at, t.updated_at, t.spawned_at, t.completed_at,
	t.history, t.run_at, t.job_id, coalesce(t.traceparent, ''), coalesce(t.tracestate, '')`

// record is a row of fleet_tasks, except for the lease.
type record struct {
	task fleet.Task
	// runAt is when the waiting attempt is due, jobID the job that hands it out.
	runAt *time.Time
	jobID *int64
}

// The parts of a task that are only shown, as they are stored.
type (
	passage struct {
		Status fleet.Status `json:"status"`
		At     time.Time    `json:"at"`
	}
	failure struct {
		Reason   string    `json:"reason"`
		Attempt  int       `json:"attempt"`
		ExitCode *int      `json:"exit_code"`
		At       time.Time `json:"at"`
	}
	cost struct {
		Base        float64 `json:"base"`
		Utilization float64 `json:"utilization"`
		Reputation  float64 `json:"reputation"`
		Complexity  float64 `json:"complexity"`
		Final       float64 `json:"final"`
		Breakdown   string  `json:"breakdown"`
	}
)

// scan reads a row that has the columns.
func scan(row pgx.Row) (record, error) {
	var (
		r                                 record
		overrides, failed, costs, history []byte
		spawnedAt, completedAt            *time.Time
		t                                 = &r.task
	)
	err := row.Scan(
		&t.ID, &t.Operator, &t.Tier, &t.TaskType, &t.Description, &t.Repository, &t.BaseBranch,
		&overrides, &t.AgentType, &t.Model, &t.Branch, &t.ContextHash, &t.Status, &t.Version, &t.Attempt,
		&t.RetryCount, &t.MaxRetries, &t.Timeout, &t.PromptTokens, &t.Reference, &t.PRNumber, &failed,
		&t.Limit, &t.CostMicroUSD, &costs, &t.CreatedAt, &t.UpdatedAt, &spawnedAt, &completedAt,
		&history, &r.runAt, &r.jobID, &t.TraceParent, &t.TraceState,
	)
	if err != nil {
		return record{}, err //nolint:wrapcheck // The callers say what they were doing.
	}
	t.CreatedAt, t.UpdatedAt = t.CreatedAt.UTC(), t.UpdatedAt.UTC()
	t.SpawnedAt, t.CompletedAt = orZero(spawnedAt), orZero(completedAt)

	var (
		passages []passage
		fail     *failure
	)
	for _, part := range []struct {
		data []byte
		into any
	}{{overrides, &t.ContextOverrides}, {failed, &fail}, {costs, (*cost)(&t.Cost)}, {history, &passages}} {
		if part.data == nil {
			continue
		}
		if err := json.Unmarshal(part.data, part.into); err != nil {
			return record{}, fmt.Errorf("task %s is not readable: %w", t.ID, err)
		}
	}
	t.Failure = (*fleet.Failure)(fail)
	for _, p := range passages {
		t.History = append(t.History, fleet.Passage(p))
	}
	return r, nil
}

// encoded is what of a task is stored as JSON; nil is NULL.
type encoded struct{ overrides, failure, cost, history []byte }

func encode(t fleet.Task) (encoded, error) {
	passages := make([]passage, 0, len(t.History))
	for _, p := range t.History {
		passages = append(passages, passage(p))
	}
	var out encoded
	for _, part := range []struct {
		from  any
		isNil bool
		data  *[]byte
	}{
		{t.ContextOverrides, t.ContextOverrides == nil, &out.overrides},
		{(*failure)(t.Failure), t.Failure == nil, &out.failure},
		{cost(t.Cost), false, &out.cost},
		{passages, false, &out.history},
	} {
		if part.isNil {
			continue
		}
		data, err := json.Marshal(part.from)
		if err != nil {
			return encoded{}, fmt.Errorf("encode task %s: %w", t.ID, err)
		}
		*part.data = data
	}
	return out, nil
}

// stored gives a task the precision that the database keeps.
func stored(t fleet.Task) fleet.Task {
	for _, at := range []*time.Time{&t.CreatedAt, &t.UpdatedAt, &t.SpawnedAt, &t.CompletedAt} {
		*at = at.UTC().Truncate(time.Microsecond)
	}
	return t
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// isID says whether a task can have that id at all; the database refuses to look for others.
func isID(id string) bool {
	const usualForm = 36
	return len(id) == usualForm && uuid.Validate(id) == nil
}
