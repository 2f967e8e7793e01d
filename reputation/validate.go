package reputation

import (
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Bounds of an event.
const (
	// MaxDimensions is the number of dimensions that an event, and an aggregate, can
	// have.
	MaxDimensions = 20

	maxAgentIDLength  = 128
	maxTextLength     = 255
	maxTaskTypeLength = 128
	maxDimensionName  = 32
	maxAhead          = 5 * time.Minute
	maxDurationMS     = 3_600_000
)

const isRequired = "is required"

// FieldError is what is wrong with one field of an event. It wraps
// [ErrInvalidEvent] and quotes nothing that the event contains, so its text may be
// shown to whoever sent it.
type FieldError struct {
	// Field is the field's name in JSON.
	Field string
	// Problem continues the sentence that the field begins.
	Problem string
}

// Error implements error.
func (e *FieldError) Error() string {
	return ErrInvalidEvent.Error() + ": " + e.Field + " " + e.Problem
}

// Unwrap returns [ErrInvalidEvent].
func (e *FieldError) Unwrap() error { return ErrInvalidEvent }

// ValidAgentID reports whether the text can be the id of an agent: 1 to 128
// letters and digits of ASCII, hyphens and underscores.
func ValidAgentID(id string) bool {
	if id == "" || len(id) > maxAgentIDLength {
		return false
	}

	for i := range len(id) {
		if c := id[i]; !lower(c) && !digit(c) && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}

	return true
}

// Valid reports whether the task type is one of the shared ones, or has the form
// namespace:type in at most 128 characters: both parts at least two characters, a
// lower-case letter first, then lower-case letters, digits and underscores; in the
// namespace hyphens too.
func (t TaskType) Valid() bool {
	switch t {
	case TaskCodeReview, TaskCreativeWriting, TaskAnalysis, TaskSummarization, TaskGeneral, TaskUnspecified:
		return true
	}

	namespace, name, found := strings.Cut(string(t), ":")

	return found && len(t) <= maxTaskTypeLength &&
		len(namespace) >= 2 && identifier(namespace, true) &&
		len(name) >= 2 && identifier(name, false)
}

// Validate checks the event against the rules of its type at that time. It returns
// nil or the first *[FieldError]. An empty ID is valid; [Service.Record] fills it.
func (e Event) Validate(now time.Time) error {
	if err := e.check(now); err != nil {
		return err
	}

	return nil
}

// check has the concrete type, so that a nil of it never hides in an error.
func (e Event) check(now time.Time) *FieldError {
	checks := []func() *FieldError{
		func() *FieldError { return e.checkBase(now) },
		e.checkForeign,
	}

	switch e.Type {
	case QualitySignal:
		checks = append(checks, e.checkObservation)
	case ModelPerformance:
		checks = append(checks, e.checkObservation, e.checkModel)
	case TaskCompleted:
		checks = append(checks, e.checkTask)
	case CredentialUpdate:
		checks = append(checks, e.checkCredential)
	default:
		return &FieldError{"type", "must be quality_signal, model_performance, task_completed or credential_update"}
	}

	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}

	return nil
}

func (e Event) checkBase(now time.Time) *FieldError {
	switch {
	case !ValidAgentID(e.AgentID):
		return &FieldError{"agent_id", "must be 1 to 128 letters, digits, hyphens or underscores"}
	case e.ID != "" && !validUUID(e.ID):
		return &FieldError{"event_id", "must be a UUID"}
	case e.At.After(now.Add(maxAhead)):
		return &FieldError{"timestamp", "must not be more than five minutes ahead"}
	case !e.At.IsZero() && e.At.UTC().Year() < 1:
		return &FieldError{"timestamp", "must not be before the year 1"}
	case e.Sequence != nil && *e.Sequence < 0:
		return &FieldError{"sequence", "must be 0 or more"}
	}

	if err := checkText("collection_id", e.CollectionID, false); err != nil {
		return err
	}

	return checkText("recorder", e.Recorder, false)
}

// checkForeign refuses fields of other types. To ignore them would tell a sender
// that something was recorded which was not.
func (e Event) checkForeign() *FieldError {
	observed := e.Type == QualitySignal || e.Type == ModelPerformance
	performed := e.Type == ModelPerformance
	completed := e.Type == TaskCompleted
	credential := e.Type == CredentialUpdate

	for _, field := range []struct {
		name     string
		set, own bool
	}{
		{"score", e.Score != nil, observed},
		{"dimensions", len(e.Dimensions) > 0, observed},
		{"task_type", e.TaskType != "", !credential},
		{"model_id", e.ModelID != "", performed},
		{"provider", e.Provider != "", performed},
		{"pool_id", e.PoolID != "", performed},
		{"latency_ms", e.LatencyMS != nil, performed},
		{"evaluated_by", e.EvaluatedBy != "", performed},
		{"request_id", e.RequestID != "", performed},
		{"delegation_id", e.DelegationID != "", performed},
		{"success", e.Success != nil, completed},
		{"duration_ms", e.DurationMS != nil, completed},
		{"credential_id", e.CredentialID != "", credential},
		{"action", e.Action != "", credential},
	} {
		if field.set && !field.own {
			return &FieldError{field.name, "does not belong to this type of event"}
		}
	}

	return nil
}

func (e Event) checkObservation() *FieldError {
	switch {
	case e.Score == nil:
		return &FieldError{"score", isRequired}
	case !fraction(*e.Score):
		return &FieldError{"score", "must be from 0 to 1"}
	case len(e.Dimensions) > MaxDimensions:
		return &FieldError{"dimensions", "must be 20 at most"}
	case e.TaskType != "" && !e.TaskType.Valid():
		return invalidTaskType()
	}

	for name, value := range e.Dimensions {
		switch {
		case len(name) > maxDimensionName || !identifier(name, false):
			return &FieldError{"dimensions", "must have names of 1 to 32 lower-case letters, digits and underscores, a letter first"}
		case !fraction(value):
			return &FieldError{"dimensions", "must be from 0 to 1"}
		}
	}

	return nil
}

func (e Event) checkModel() *FieldError {
	for _, text := range []struct {
		name, value string
		required    bool
	}{
		{"model_id", e.ModelID, true},
		{"provider", e.Provider, true},
		{"pool_id", e.PoolID, true},
		{"evaluated_by", e.EvaluatedBy, false},
	} {
		if err := checkText(text.name, text.value, text.required); err != nil {
			return err
		}
	}

	switch {
	case e.TaskType == "":
		return &FieldError{"task_type", isRequired}
	case e.LatencyMS != nil && *e.LatencyMS < 0:
		return &FieldError{"latency_ms", "must be 0 or more"}
	case e.RequestID != "" && !validUUID(e.RequestID):
		return &FieldError{"request_id", "must be a UUID"}
	case e.DelegationID != "" && !validUUID(e.DelegationID):
		return &FieldError{"delegation_id", "must be a UUID"}
	}

	return nil
}

func (e Event) checkTask() *FieldError {
	switch {
	case e.TaskType == "":
		return &FieldError{"task_type", isRequired}
	case !e.TaskType.Valid():
		return invalidTaskType()
	case e.Success == nil:
		return &FieldError{"success", isRequired}
	case e.DurationMS != nil && (*e.DurationMS < 0 || *e.DurationMS > maxDurationMS):
		return &FieldError{"duration_ms", "must be from 0 to 3600000"}
	}

	return nil
}

func (e Event) checkCredential() *FieldError {
	if !validUUID(e.CredentialID) {
		return &FieldError{"credential_id", "must be a UUID"}
	}

	switch e.Action {
	case CredentialIssued, CredentialRevoked, CredentialRenewed, CredentialSuspended:
		return nil
	default:
		return &FieldError{"action", "must be issued, revoked, renewed or suspended"}
	}
}

func invalidTaskType() *FieldError {
	return &FieldError{"task_type", "must be a known type or have the form namespace:type"}
}

// checkText accepts text that every store can keep and every log can show: valid
// UTF-8 without control characters.
func checkText(field, text string, required bool) *FieldError {
	switch {
	case text == "" && required:
		return &FieldError{field, isRequired}
	case utf8.RuneCountInString(text) > maxTextLength:
		return &FieldError{field, "must be 255 characters at most"}
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return &FieldError{field, "must be text without control characters"}
	default:
		return nil
	}
}

// validUUID accepts the plain form only; the parser knows three more.
func validUUID(text string) bool {
	if len(text) != len("00000000-0000-0000-0000-000000000000") {
		return false
	}

	_, err := uuid.Parse(text)

	return err == nil
}

func fraction(x float64) bool { return !math.IsNaN(x) && x >= 0 && x <= 1 }

// identifier reports whether the text is a lower-case letter followed by
// lower-case letters, digits, underscores and, if allowed, hyphens.
func identifier(text string, hyphens bool) bool {
	if text == "" || !lower(text[0]) {
		return false
	}

	for i := range len(text) {
		if c := text[i]; !lower(c) && !digit(c) && c != '_' && (c != '-' || !hyphens) {
			return false
		}
	}

	return true
}

func lower(c byte) bool { return c >= 'a' && c <= 'z' }

func digit(c byte) bool { return c >= '0' && c <= '9' }
