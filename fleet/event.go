package fleet

import "time"

// EventType is the kind of an [Event].
type EventType string

// The kinds of event.
const (
	// AgentSpawned is a task that was admitted.
	AgentSpawned EventType = "AGENT_SPAWNED"
	// AgentCompleted is a task that is completed or merged.
	AgentCompleted EventType = "AGENT_COMPLETED"
	// AgentFailed is a task that was given up.
	AgentFailed EventType = "AGENT_FAILED"
	// AgentRetrying is a failed attempt that another one follows.
	AgentRetrying EventType = "AGENT_RETRYING"
	// AgentCancelled is a task that was stopped.
	AgentCancelled EventType = "AGENT_CANCELLED"
	// SpawnDenied is a spawn that the policy refused; there is no task.
	SpawnDenied EventType = "SPAWN_DENIED"
)

// Event is something that happened to a task. It belongs to one change and is told of after the commit;
// only [SpawnDenied] belongs to none.
type Event struct {
	Type EventType
	// TaskID is empty for [SpawnDenied].
	TaskID   string
	Operator string
	At       time.Time

	TaskType  string
	AgentType string
	Branch    string
	Tier      string
	Model     string
	// RoutingReason is why this model: "requested" or "task_type"; only for [AgentSpawned].
	RoutingReason string
	// Reason is why the attempt failed or the spawn was denied; empty for the other kinds.
	Reason string
	// RetryCount is how many retries were spent.
	RetryCount int
	// TraceParent is that of the task; of a [SpawnDenied], of the call that was denied. Empty is none.
	TraceParent string
	// TraceState goes with TraceParent, see [Task].
	TraceState string
}

func taskEvent(kind EventType, t Task) Event {
	e := Event{
		Type: kind, TaskID: t.ID, Operator: t.Operator, At: t.UpdatedAt,
		TaskType: t.TaskType, AgentType: t.AgentType, Branch: t.Branch, Tier: t.Tier, Model: t.Model,
		RetryCount: t.RetryCount, TraceParent: t.TraceParent, TraceState: t.TraceState,
	}
	if t.Failure != nil && (kind == AgentFailed || kind == AgentRetrying) {
		e.Reason = t.Failure.Reason
	}
	return e
}

// eventFor is the event that tells of the state a task has come into; without a Type if there is none.
func eventFor(t Task) Event {
	switch t.Status {
	case Completed, Merged:
		return taskEvent(AgentCompleted, t)
	case Abandoned, Failed:
		return taskEvent(AgentFailed, t)
	case Retrying:
		return taskEvent(AgentRetrying, t)
	case Cancelled:
		return taskEvent(AgentCancelled, t)
	case Proposed, Spawning, Running, PRCreated, Reviewing, Ready, Rejected:
		return Event{}
	default:
		return Event{}
	}
}
