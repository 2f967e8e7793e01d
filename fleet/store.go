package fleet

import (
	"context"
	"time"
)

// Bounds of a task's log. The oldest lines go first.
const (
	// MaxLogLines is how many lines a task's log keeps.
	MaxLogLines = 10_000
	// MaxLogBytes is how many bytes of text a task's log keeps.
	MaxLogBytes = 1 << 20
	// MaxLogLine is the length of one line in bytes; longer ones are cut.
	MaxLogLine = 4096
)

// Store keeps tasks, their logs and the ledger, and dispatches attempts. Every method is safe for
// concurrent use, and all or nothing. A store that cannot answer returns an error that is
// [ErrStoreUnavailable]; one that does not outlive the process has a method Ephemeral() bool that
// returns true.
//
// An admission and a change carry the [Event] that tells of them. The [Service] hands it to its host after
// the commit, at most once: it is lost with the process. A store that can do better keeps the event in the
// same step and publishes it from there, at least once, in any order and in any process, to whom its own
// configuration names; so it does with the events of changes that it makes itself, see [Rescue]. Such a
// store has a method Publishes() bool that returns true, and the Service leaves those events to it.
//
// What wraps a store must pass Ephemeral and Publishes on: a struct that embeds the interface Store hides
// them, and then tasks of an ephemeral store wait for ever after a shutdown, and events are told twice.
type Store interface {
	Tasks
	Logs
	Dispatcher
}

// Tasks keeps tasks and the ledger.
type Tasks interface {
	// Admit locks the operator, builds its [Snapshot] at in.Task.CreatedAt, calls decide, and, when the
	// decision admits, inserts the task with version 1, charges decision.CostMicroUSD to the UTC day of
	// CreatedAt, enqueues the first attempt for CreatedAt, and keeps in.Event if the store publishes, in
	// one step. Cost, CostMicroUSD and Limit of the task are set from the decision. A decision that denies
	// is no error; nothing is written then.
	//
	// When the operator has a task with in.IdempotencyKey, that task is returned without asking decide,
	// whatever its state, if its ContextHash is the same; otherwise [ErrIdempotencyConflict]. A key
	// lives as long as its task. decide must be pure: it may be called again.
	Admit(ctx context.Context, in NewTask, decide func(Snapshot) Decision) (Admission, error)

	// Snapshot is what Admit would hand to decide.
	Snapshot(ctx context.Context, operator string, now time.Time) (Snapshot, error)

	// Get returns a task within the scope, or [ErrNotFound].
	Get(ctx context.Context, scope Scope, id string) (Task, error)

	// List counts all tasks of the scope and returns the newest, at most limit of them, newest first.
	List(ctx context.Context, scope Scope, limit int) (Listing, error)

	// Update locks the task, calls change with it and commits what came back, in one step: the
	// task's fields with the version one higher, the next attempt when RunAt is set, the release of
	// the charge when Release is set and the charge has not been released before, and the event if the
	// store publishes. A task that has ended loses its waiting attempt. Identity, content and cost of a
	// task do not change, whatever came back. An error of change is returned as it is, and nothing is
	// written. change must be pure: it may be called again.
	//
	// [ErrNotFound] without such a task; [ErrFenced] when target.Attempt is not 0 and is not the task's,
	// or the task has ended.
	Update(ctx context.Context, target Target, change func(Task) (Change, error)) (Task, error)

	// Delete removes a task whose state permits it, with its log; otherwise [*ConflictError]. What it
	// cost stays in the ledger. [ErrNotFound] as in Get.
	Delete(ctx context.Context, scope Scope, id string) error

	// Health counts over all operators.
	Health(ctx context.Context) (Health, error)
}

// Logs keeps the logs of tasks, each bounded by [MaxLogLines] and [MaxLogBytes].
type Logs interface {
	// AppendLog adds lines, which hold no line breaks and at most [MaxLogLine] bytes of valid UTF-8
	// each. Errors as in Update.
	AppendLog(ctx context.Context, target Target, lines []string) error

	// Log returns the last lines of a task's log, at most n, oldest first. [ErrNotFound] as in Get.
	Log(ctx context.Context, scope Scope, id string, n int) ([]string, error)
}

// Dispatcher hands due attempts to workers. An attempt is handed out at least once, and not by two
// dispatchers at a time as long as both live; the fence makes a second delivery harmless. A later attempt
// of a task is handed out even while an earlier one, which has lost the task, is at work.
//
// A store that outlives the process also finds out which workers are gone, by a lease or the like, and
// commits [Rescue] for what they had.
type Dispatcher interface {
	// Start begins to call work for due attempts, at most workers at a time, and returns. Attempts that
	// were enqueued earlier count. An attempt whose work returned an error is handed out again a little
	// later. ctx bounds only the start itself. After an error nothing more runs than before. A store that
	// has been started cannot be started again, not even after Stop: that is an error.
	//
	// The context of work is cancelled by Stop, with [ErrShutdown] as its cause. The store may also cancel
	// that of one attempt, with [ErrStopped], when another process has ended the task or given it to a
	// later attempt, or when the store cannot rule that out: it could not renew a lease in time. Work that
	// is interrupted so writes no outcome and returns nil; if its task has not ended, the store sees to
	// another attempt. Nothing else cancels the context.
	Start(ctx context.Context, workers int, work func(context.Context, Attempt) error) error

	// Stop hands out no more, cancels what runs and waits until it has ended or ctx has, which is then
	// the error. Without Start, and again, it does nothing.
	Stop(ctx context.Context) error
}

// Attempt is one try at a task that waits for its time.
type Attempt struct {
	TaskID string
	Number int
	RunAt  time.Time
}

// NewTask is a task to admit.
type NewTask struct {
	// Task is in state proposed with Attempt 1.
	Task Task
	// IdempotencyKey is unique for each operator; empty is none.
	IdempotencyKey string
	// Event tells of the admission; without a Type there is nothing to tell. See [Store].
	Event Event
}

// Admission is what became of a [NewTask].
type Admission struct {
	// Task is the new task, or the earlier one of the same idempotency key; empty when denied.
	Task Task
	// Decision is the policy's; empty for a replay.
	Decision Decision
	// Snapshot is what was counted, without the new task.
	Snapshot Snapshot
	// Replayed says that Task is an earlier one.
	Replayed bool
}

// Target is the task that a write is for.
type Target struct {
	Scope Scope
	ID    string
	// Attempt is the worker's attempt, which fences the write; 0 is no fence.
	Attempt int
}

// Change is what to commit.
type Change struct {
	// Task is the task as it shall be.
	Task Task
	// RunAt enqueues attempt Task.Attempt for that time, in place of one that waits; zero enqueues
	// nothing.
	RunAt time.Time
	// Release gives the charge back, booked on the day of the charge.
	Release bool
	// Event tells of the change; without a Type there is nothing to tell. See [Store].
	Event Event
}

// Apply makes t what the change says: what a change may change, and the next version. The rest of a task
// stays as it was admitted, whatever the change holds.
func (c Change) Apply(t *Task) {
	changed := c.Task.Clone()
	t.Version++
	t.Status, t.History = changed.Status, changed.History
	t.Attempt, t.RetryCount = changed.Attempt, changed.RetryCount
	t.PromptTokens, t.Reference, t.PRNumber = changed.PromptTokens, changed.Reference, changed.PRNumber
	t.Failure = changed.Failure
	t.UpdatedAt, t.SpawnedAt, t.CompletedAt = changed.UpdatedAt, changed.SpawnedAt, changed.CompletedAt
}

// Listing is a scope's tasks.
type Listing struct {
	// Counts is over all tasks of the scope.
	Counts map[Status]int
	// Tasks are the newest, newest first.
	Tasks []Task
}

// Health is the state of the whole fleet.
type Health struct {
	// Total and Active count tasks of all operators.
	Total  int
	Active int
	// OverLimit is how many operators have more active tasks than the limit of their latest admission.
	OverLimit int
}
