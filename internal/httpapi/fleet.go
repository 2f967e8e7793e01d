package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dixie/fleet"
)

func fromFleet(err error) *apiError {
	var denied *fleet.DeniedError
	var conflict *fleet.ConflictError
	switch {
	case errors.As(err, &denied):
		return spawnDenied(denied.Decision)
	case errors.As(err, &conflict):
		return &apiError{
			Status: http.StatusConflict, Code: "conflict",
			Message: "Not possible while the task is " + string(conflict.Status),
			Extra: struct {
				Status fleet.Status `json:"status"`
			}{conflict.Status},
		}
	case errors.Is(err, fleet.ErrInvalidRequest):
		return invalid("%s", publicText(err, fleet.ErrInvalidRequest))
	case errors.Is(err, fleet.ErrIdempotencyConflict):
		return &apiError{
			Status: http.StatusConflict, Code: "idempotency_conflict",
			Message: "This Idempotency-Key was used with other content",
		}
	case errors.Is(err, fleet.ErrNotFound):
		return errNotFound
	case errors.Is(err, fleet.ErrStoreUnavailable):
		return unavailable("Fleet is temporarily unavailable")
	default:
		return nil
	}
}

// spawnDenied explains a denial by what was counted.
func spawnDenied(d fleet.Decision) *apiError {
	return &apiError{
		Status: http.StatusForbidden, Code: "spawn_denied", Message: "Governance does not admit this task: " + d.Reason,
		Extra: struct {
			Tier         string `json:"tier"`
			ActiveCount  int    `json:"activeCount"`
			TierLimit    int    `json:"tierLimit"`
			DenialReason string `json:"denial_reason"`
			Budget       budget `json:"budget"`
		}{d.Tier, d.Active, d.Limit, d.Reason, budgetOf(d)},
	}
}

// publicText is the text that a validation error adds to its sentinel: it names a field of the
// caller's own request and is safe to show.
func publicText(err, sentinel error) string {
	text := err.Error()
	if _, after, found := strings.Cut(text, sentinel.Error()+": "); found {
		return after
	}
	return text
}

type spawnRequest struct {
	Description      string            `json:"description"`
	TaskType         string            `json:"taskType"`
	Repository       string            `json:"repository"`
	BaseBranch       string            `json:"baseBranch"`
	AgentType        string            `json:"agentType"`
	Model            string            `json:"model"`
	MaxRetries       *int              `json:"maxRetries"`
	TimeoutMinutes   *int              `json:"timeoutMinutes"`
	ContextOverrides map[string]string `json:"contextOverrides"`
}

type spawnCost struct {
	Base        float64 `json:"baseCost"`
	Utilization float64 `json:"utilizationMultiplier"`
	Reputation  float64 `json:"reputationDiscount"`
	Complexity  float64 `json:"complexityFactor"`
	Final       float64 `json:"finalCost"`
	Breakdown   string  `json:"breakdown"`
}

type spawnResult struct {
	TaskID       string       `json:"taskId"`
	Branch       string       `json:"branch"`
	WorktreePath string       `json:"worktreePath"`
	AgentType    string       `json:"agentType"`
	Model        string       `json:"model"`
	Status       fleet.Status `json:"status"`
	SpawnCost    spawnCost    `json:"spawnCost"`
	CostMicroUSD int64        `json:"costMicroUsd"`
	Budget       budget       `json:"budget"`
}

func (a *API) postSpawn(w http.ResponseWriter, r *http.Request) error {
	operator, err := callerWallet(r)
	if err != nil {
		return err
	}
	var body spawnRequest
	if err := decodeJSON(r, &body); err != nil {
		return err
	}
	spawned, err := a.cfg.Fleet.Spawn(r.Context(), fleet.SpawnRequest{
		Operator: operator, Tier: exchangeFrom(r.Context()).tier.Tier.String(),
		Description: body.Description, TaskType: body.TaskType, Repository: body.Repository, BaseBranch: body.BaseBranch,
		AgentType: body.AgentType, Model: body.Model, MaxRetries: body.MaxRetries, TimeoutMinutes: body.TimeoutMinutes,
		ContextOverrides: body.ContextOverrides, IdempotencyKey: r.Header.Get("Idempotency-Key"),
	})
	if err != nil {
		return err
	}
	if spawned.Replayed {
		w.Header().Set("Idempotent-Replay", "true")
	}
	t := spawned.Task
	return a.writeJSON(w, http.StatusCreated, spawnResult{
		TaskID: t.ID, Branch: t.Branch, AgentType: t.AgentType, Model: t.Model, Status: t.Status,
		SpawnCost:    spawnCost(t.Cost),
		CostMicroUSD: t.CostMicroUSD, Budget: budgetOf(spawned.Decision),
	})
}

// fleetScope is the caller's own tasks, or with the admin key beside the token, everybody's.
func (a *API) fleetScope(r *http.Request) (fleet.Scope, error) {
	operator, err := callerWallet(r)
	if err != nil {
		return fleet.Scope{}, err
	}
	return fleet.Scope{Operator: operator, All: a.adminKey.Is(r.Header.Get("X-Admin-Key"))}, nil
}

type taskSummary struct {
	ID              string       `json:"id"`
	Status          fleet.Status `json:"status"`
	Description     string       `json:"description"`
	AgentType       string       `json:"agentType"`
	Model           string       `json:"model"`
	Branch          string       `json:"branch"`
	PRNumber        *int         `json:"prNumber"`
	CIStatus        *string      `json:"ciStatus"`
	RetryCount      int          `json:"retryCount"`
	SpawnedAt       *timestamp   `json:"spawnedAt"`
	DurationMinutes *int         `json:"durationMinutes"`
}

func (a *API) getFleetStatus(w http.ResponseWriter, r *http.Request) error {
	scope, err := a.fleetScope(r)
	if err != nil {
		return err
	}
	scope.All = scope.All && r.URL.Query().Get("all") == "true"
	overview, err := a.cfg.Fleet.Status(r.Context(), scope)
	if err != nil {
		return err
	}
	tasks := make([]taskSummary, 0, len(overview.Tasks))
	for _, t := range overview.Tasks {
		tasks = append(tasks, taskSummary{
			ID: t.ID, Status: t.Status, Description: t.Description, AgentType: t.AgentType, Model: t.Model, Branch: t.Branch,
			PRNumber: optional(t.PRNumber), RetryCount: t.RetryCount,
			SpawnedAt: optionalTimestamp(t.SpawnedAt), DurationMinutes: minutes(t),
		})
	}
	return a.writeJSON(w, http.StatusOK, struct {
		Active    int           `json:"activeTasks"`
		Completed int           `json:"completedTasks"`
		Failed    int           `json:"failedTasks"`
		Tasks     []taskSummary `json:"tasks"`
	}{overview.Active, overview.Completed, overview.Failed, tasks})
}

// minutes is how long the task has worked or did work; nil before it began.
func minutes(t fleet.Task) *int {
	if t.SpawnedAt.IsZero() {
		return nil
	}
	end := t.CompletedAt
	if end.IsZero() {
		end = time.Now()
	}
	n := max(0, int(end.Sub(t.SpawnedAt)/time.Minute))
	return &n
}

// optional is nil for the zero value.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// optionalTimestamp is nil for the zero time.
func optionalTimestamp(t time.Time) *timestamp {
	if t.IsZero() {
		return nil
	}
	ts := timestamp(t)
	return &ts
}

type fleetTask struct {
	ID              string          `json:"id"`
	OperatorID      string          `json:"operatorId"`
	AgentType       string          `json:"agentType"`
	Model           string          `json:"model"`
	TaskType        string          `json:"taskType"`
	Description     string          `json:"description"`
	Branch          string          `json:"branch"`
	WorktreePath    *string         `json:"worktreePath"`
	ContainerID     *string         `json:"containerId"`
	TmuxSession     *string         `json:"tmuxSession"`
	Status          fleet.Status    `json:"status"`
	Version         int             `json:"version"`
	PRNumber        *int            `json:"prNumber"`
	CIStatus        *string         `json:"ciStatus"`
	ReviewStatus    *struct{}       `json:"reviewStatus"`
	RetryCount      int             `json:"retryCount"`
	MaxRetries      int             `json:"maxRetries"`
	ContextHash     *string         `json:"contextHash"`
	FailureContext  *failureContext `json:"failureContext"`
	SpawnedAt       *timestamp      `json:"spawnedAt"`
	CompletedAt     *timestamp      `json:"completedAt"`
	CreatedAt       timestamp       `json:"createdAt"`
	UpdatedAt       timestamp       `json:"updatedAt"`
	AgentIdentityID *string         `json:"agentIdentityId"`
	GroupID         *string         `json:"groupId"`
	CostMicroUSD    int64           `json:"costMicroUsd"`
	History         []passage       `json:"history"`
}

type failureContext struct {
	Reason   string    `json:"reason"`
	Attempt  int       `json:"attempt"`
	ExitCode *int      `json:"exit_code,omitempty"`
	At       timestamp `json:"at"`
}

type passage struct {
	Status fleet.Status `json:"status"`
	At     timestamp    `json:"at"`
}

func taskBody(t fleet.Task) fleetTask {
	body := fleetTask{
		ID: t.ID, OperatorID: t.Operator, AgentType: t.AgentType, Model: t.Model, TaskType: t.TaskType,
		Description: t.Description, Branch: t.Branch, Status: t.Status, Version: t.Version, PRNumber: optional(t.PRNumber),
		RetryCount: t.RetryCount, MaxRetries: t.MaxRetries, ContextHash: optional(t.ContextHash),
		SpawnedAt: optionalTimestamp(t.SpawnedAt), CompletedAt: optionalTimestamp(t.CompletedAt),
		CreatedAt: timestamp(t.CreatedAt), UpdatedAt: timestamp(t.UpdatedAt), CostMicroUSD: t.CostMicroUSD,
		History: make([]passage, 0, len(t.History)),
	}
	if f := t.Failure; f != nil {
		body.FailureContext = &failureContext{Reason: f.Reason, Attempt: f.Attempt, ExitCode: f.ExitCode, At: timestamp(f.At)}
	}
	for _, p := range t.History {
		body.History = append(body.History, passage{p.Status, timestamp(p.At)})
	}
	return body
}

// onTask is a handler for one task within the caller's scope.
func (a *API) onTask(h func(w http.ResponseWriter, r *http.Request, scope fleet.Scope, id string) error) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		scope, err := a.fleetScope(r)
		if err != nil {
			return err
		}
		id, err := pathID(r, "taskId")
		if err != nil {
			return err
		}
		return h(w, r, scope, id)
	}
}

func (a *API) getTask(w http.ResponseWriter, r *http.Request, scope fleet.Scope, id string) error {
	t, err := a.cfg.Fleet.Task(r.Context(), scope, id)
	if err != nil {
		return err
	}
	return a.writeJSON(w, http.StatusOK, taskBody(t))
}

func (a *API) deleteTask(w http.ResponseWriter, r *http.Request, scope fleet.Scope, id string) error {
	if err := a.cfg.Fleet.Delete(r.Context(), scope, id); err != nil {
		return err
	}
	return a.writeJSON(w, http.StatusOK, struct {
		OK     bool   `json:"ok"`
		TaskID string `json:"taskId"`
	}{true, id})
}

func (a *API) postStop(w http.ResponseWriter, r *http.Request, scope fleet.Scope, id string) error {
	t, err := a.cfg.Fleet.Stop(r.Context(), scope, id)
	if err != nil {
		return err
	}
	return a.writeJSON(w, http.StatusOK, struct {
		OK     bool         `json:"ok"`
		TaskID string       `json:"taskId"`
		Status fleet.Status `json:"status"`
	}{true, t.ID, t.Status})
}

func (a *API) getTaskLogs(w http.ResponseWriter, r *http.Request, scope fleet.Scope, id string) error {
	// What is no positive integer counts as the default.
	lines, err := strconv.Atoi(r.URL.Query().Get("lines"))
	if err != nil {
		lines = 0
	}
	found, err := a.cfg.Fleet.Logs(r.Context(), scope, id, lines)
	if err != nil {
		return err
	}
	text := strings.Join(found, "\n")
	if text != "" {
		text += "\n"
	}
	return a.writeJSON(w, http.StatusOK, struct {
		TaskID string `json:"taskId"`
		Logs   string `json:"logs"`
	}{id, text})
}
