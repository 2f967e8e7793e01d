package fleet

import (
	"maps"
	"slices"
	"time"
)

// maxHistory bounds a task's history. A life of eleven attempts, each through review, has 67 entries.
const maxHistory = 128

// Task is a piece of work and how far it got. It is a value: what a [Store] returns belongs to the
// caller.
type Task struct {
	// ID is a UUID in lower case.
	ID string
	// Operator is on whose behalf the task runs.
	Operator string
	// Tier is the operator's tier at admission.
	Tier string

	TaskType         string
	Description      string
	Repository       string
	BaseBranch       string
	ContextOverrides map[string]string
	// AgentType and Model are who does the work.
	AgentType string
	Model     string
	// Branch is where the work goes: fleet/, a hash of the operator, and eight random hex digits.
	Branch string
	// ContextHash is the hex SHA-256 of the request's content. Two requests with the same hash ask for
	// the same work.
	ContextHash string

	Status Status
	// Version grows by one with each change.
	Version int
	// Attempt is the number of the attempt that may write, from 1 on. It grows with each retry and
	// with each handing over of an attempt whose process ended.
	Attempt int
	// RetryCount is how many retries were spent, at most MaxRetries.
	RetryCount int
	MaxRetries int
	// Timeout bounds each attempt from the moment a worker takes it.
	Timeout time.Duration
	// PromptTokens bounds the prompt; an attempt that ran out of memory makes the next one's smaller.
	PromptTokens int

	// Reference is what the Runner calls the work of the attempt, such as a session id; empty until that
	// has started.
	Reference string
	// PRNumber is the number of the attempt's pull request, or 0.
	PRNumber int
	// Failure is how the last failed attempt ended; nil when none has.
	Failure *Failure

	// Limit is how many active tasks the operator's tier permitted at admission.
	Limit int
	// TraceParent is the span that spawned the task, as a W3C traceparent of version 00, for its attempts and
	// its events to go on in that trace; empty is none. It is not for clients.
	TraceParent string
	// TraceState is what the vendors of that trace have to say, as a W3C tracestate of 512 bytes at most, to be
	// handed on with TraceParent; empty is none. It is a client's own text: it is not for clients, logs and spans.
	TraceState string

	// CostMicroUSD is what the admission charged, and Cost how it came about.
	CostMicroUSD int64
	Cost         CostBreakdown

	CreatedAt time.Time
	UpdatedAt time.Time
	// SpawnedAt is when work first really started; zero when it never has.
	SpawnedAt time.Time
	// CompletedAt is when the task ended; zero while it has not.
	CompletedAt time.Time
	// History has the newest 128 states with their times, oldest first.
	History []Passage
}

// Passage is the moment at which a task came into a state.
type Passage struct {
	Status Status
	At     time.Time
}

// Failure is how an attempt ended that failed. It carries no text of the work itself.
type Failure struct {
	// Reason is a word of lower-case letters, digits and underscores, at most 64 of them.
	Reason string
	// Attempt is the number of the attempt.
	Attempt int
	// ExitCode is the exit code of a process, nil when there was none.
	ExitCode *int
	At       time.Time
}

// Reasons for the failure of an attempt that this package gives itself. Runners add theirs.
const (
	ReasonTimeout     = "timeout"
	ReasonShutdown    = "shutdown"
	ReasonPanic       = "panic"
	ReasonRunner      = "runner_error"
	ReasonOutOfMemory = "out_of_memory"
	// ReasonLost is a worker that is gone without a word; see [Rescue].
	ReasonLost = "worker_lost"
	// ReasonRejected is a pull request that was refused.
	ReasonRejected = "rejected"
	// ReasonReported is a failure that the host reported with [Service.Advance].
	ReasonReported = "reported"
)

// Ran reports whether work ever really started.
func (t Task) Ran() bool { return !t.SpawnedAt.IsZero() }

// Clone returns a copy that shares nothing that can be changed.
func (t Task) Clone() Task {
	t.ContextOverrides = maps.Clone(t.ContextOverrides)
	t.History = slices.Clone(t.History)
	if t.Failure != nil {
		failure := *t.Failure
		if failure.ExitCode != nil {
			code := *failure.ExitCode
			failure.ExitCode = &code
		}
		t.Failure = &failure
	}
	return t
}

// Move returns the task after it has gone through the states of path at the given time. A step that the
// machine does not permit is a [*ConflictError]. The receiver stays as it is.
func (t Task) Move(at time.Time, path ...Status) (Task, error) {
	history := make([]Passage, 0, len(t.History)+len(path))
	history = append(history, t.History...)
	for _, to := range path {
		if err := Transition(t.Status, to); err != nil {
			return Task{}, err
		}
		t.Status = to
		t.UpdatedAt = at
		if to == Running && !t.Ran() {
			t.SpawnedAt = at
		}
		if to.Terminal() {
			t.CompletedAt = at
		}
		history = append(history, Passage{Status: to, At: at})
	}
	t.History = history[max(0, len(history)-maxHistory):]
	return t, nil
}

// Scope is whose tasks a call may see and touch.
type Scope struct {
	// Operator is the one whose tasks are in the scope.
	Operator string
	// All widens the scope to every operator; for administrators.
	All bool
}

// Includes reports whether the tasks of an operator are in the scope.
func (s Scope) Includes(operator string) bool {
	return s.All || s.Operator == operator && operator != ""
}
