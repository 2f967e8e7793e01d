package reputation

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"
)

// EventType names a kind of event.
type EventType string

// The types of events.
const (
	// QualitySignal is an observation of quality. It moves the score, the
	// dimensions it names and, when it names a task type, the cohort of
	// [DefaultModel] and that type.
	QualitySignal EventType = "quality_signal"
	// ModelPerformance is an observation of quality of a known model. It does what a
	// quality signal does, with the cohort of its own model.
	ModelPerformance EventType = "model_performance"
	// TaskCompleted counts a finished task for the cohort of [DefaultModel] and its
	// task type, if there is one. It moves no score.
	TaskCompleted EventType = "task_completed"
	// CredentialUpdate is kept in the log and changes nothing else.
	CredentialUpdate EventType = "credential_update" //nolint:gosec // A type of event, no credential.
)

// CredentialAction is what happened to a credential.
type CredentialAction string

// The credential actions.
const (
	CredentialIssued    CredentialAction = "issued"
	CredentialRevoked   CredentialAction = "revoked"
	CredentialRenewed   CredentialAction = "renewed"
	CredentialSuspended CredentialAction = "suspended"
)

// TaskType is the kind of work that an event is about: one of the constants, or a
// type of a community in the form namespace:type.
type TaskType string

// The task types that everybody shares.
const (
	TaskCodeReview      TaskType = "code_review"
	TaskCreativeWriting TaskType = "creative_writing"
	TaskAnalysis        TaskType = "analysis"
	TaskSummarization   TaskType = "summarization"
	TaskGeneral         TaskType = "general"
	// TaskUnspecified never makes a cohort.
	TaskUnspecified TaskType = "unspecified"
)

// DefaultCollection is the collection of events that name none.
const DefaultCollection = "default"

// Event is one observation of an agent. Which fields belong to which type is said
// at each; a field of another type must be left out. The JSON form is the one in
// which stores keep events.
type Event struct {
	// ID is the idempotency key, a UUID. Empty: [Service.Record] makes one.
	ID string `json:"event_id"`
	// AgentID is 1 to 128 letters, digits, hyphens and underscores.
	AgentID string    `json:"agent_id"`
	Type    EventType `json:"type"`
	// At is when it was observed, at most five minutes ahead of the clock. Zero: when
	// it is recorded.
	At time.Time `json:"timestamp,omitzero"`
	// Recorder identifies who recorded the event. It is set by the caller's own
	// knowledge of its client, never by the client, and is not part of the content
	// that makes a repetition a duplicate.
	Recorder string `json:"recorder,omitempty"`
	// CollectionID groups agents. Empty: [DefaultCollection].
	CollectionID string `json:"collection_id,omitempty"`
	// Sequence is a number of the sender's own, 0 or more.
	Sequence *int64 `json:"sequence,omitempty"`

	// Score is the observed quality from 0 to 1: quality_signal, model_performance.
	Score *float64 `json:"score,omitempty"`
	// Dimensions are up to 20 named aspects of it, each from 0 to 1:
	// quality_signal, model_performance.
	Dimensions map[string]float64 `json:"dimensions,omitempty"`
	// TaskType is required but for quality_signal, and no field of
	// credential_update.
	TaskType TaskType `json:"task_type,omitempty"`

	// ModelID, Provider and PoolID say what did the work; all of them
	// model_performance, required.
	ModelID  string `json:"model_id,omitempty"`
	Provider string `json:"provider,omitempty"`
	PoolID   string `json:"pool_id,omitempty"`
	// LatencyMS is how long the model took, in milliseconds: model_performance.
	LatencyMS *int64 `json:"latency_ms,omitempty"`
	// EvaluatedBy is the sender's word on who judged: model_performance.
	EvaluatedBy string `json:"evaluated_by,omitempty"`
	// RequestID and DelegationID are UUIDs: model_performance.
	RequestID    string `json:"request_id,omitempty"`
	DelegationID string `json:"delegation_id,omitempty"`

	// Success says how the task ended: task_completed, required.
	Success *bool `json:"success,omitempty"`
	// DurationMS is at most an hour, in milliseconds: task_completed.
	DurationMS *int64 `json:"duration_ms,omitempty"`

	// CredentialID is a UUID: credential_update, required.
	CredentialID string `json:"credential_id,omitempty"`
	// Action is required for credential_update.
	Action CredentialAction `json:"action,omitempty"`
}

// scored reports whether the event carries an observation of quality.
func (e Event) scored() bool {
	return (e.Type == QualitySignal || e.Type == ModelPerformance) && e.Score != nil
}

// model is the model of the cohort that the event belongs to.
func (e Event) model() string {
	if e.Type == ModelPerformance {
		return e.ModelID
	}

	return DefaultModel
}

// clone returns a copy that shares nothing with the event.
func (e Event) clone() Event {
	e.Sequence = copied(e.Sequence)
	e.Score = copied(e.Score)
	e.Dimensions = maps.Clone(e.Dimensions)
	e.LatencyMS = copied(e.LatencyMS)
	e.Success = copied(e.Success)
	e.DurationMS = copied(e.DurationMS)

	return e
}

// canonical returns a copy in the one form in which equal events are equal and
// every store returns what it was given: lower-case UUIDs, UTC, microseconds (the
// resolution of a timestamp in SQL), no negative zero (which JSON numbers in SQL
// lose), defaults of the format filled in.
func (e Event) canonical() Event {
	e = e.clone()
	e.ID = strings.ToLower(e.ID)
	e.RequestID = strings.ToLower(e.RequestID)
	e.DelegationID = strings.ToLower(e.DelegationID)
	e.CredentialID = strings.ToLower(e.CredentialID)

	if !e.At.IsZero() {
		e.At = stamp(e.At)
	}

	if e.CollectionID == "" {
		e.CollectionID = DefaultCollection
	}

	if e.Score != nil && *e.Score == 0 {
		e.Score = new(float64)
	}

	if len(e.Dimensions) == 0 {
		e.Dimensions = nil
	}

	for name, value := range e.Dimensions {
		if value == 0 {
			e.Dimensions[name] = 0
		}
	}

	return e
}

// fingerprint identifies the content that the sender gave: the canonical event
// without its id and without the recorder. A timestamp that the sender left out is
// still absent here, so that a repetition, which leaves it out too, is the same.
func (e Event) fingerprint() (string, error) {
	e.ID, e.Recorder = "", ""

	// Maps are written in the order of their keys.
	content, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("fingerprint the event: %w", err)
	}

	sum := sha256.Sum256(content)

	return hex.EncodeToString(sum[:]), nil
}

// stamp brings a time to the resolution and zone in which times are kept. Rounding
// down also drops the monotonic reading, which no store keeps.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}

	value := *p

	return &value
}
