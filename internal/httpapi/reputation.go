package httpapi

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"dixie/governance"
	"dixie/internal/auth"
	"dixie/reputation"
)

func fromReputation(err error) *apiError {
	field, isField := errors.AsType[*reputation.FieldError](err)
	switch {
	case isField:
		return invalid("%s %s", field.Field, field.Problem)
	case errors.Is(err, reputation.ErrEventConflict):
		return &apiError{
			Status: http.StatusConflict, Code: "event_conflict",
			Message: "This event_id was used for another event",
		}
	case errors.Is(err, reputation.ErrNotFound):
		return errNotFound
	case errors.Is(err, reputation.ErrStoreUnavailable):
		return unavailable("Reputation is temporarily unavailable")
	default:
		return nil
	}
}

// agentID is the agent that a path names. The routes beside /api/reputation/{nftId} cannot be ids:
// what is recorded under such an id could not be read again.
func agentID(r *http.Request) (string, error) {
	id, err := pathID(r, "nftId")
	if err == nil && (id == "query" || id == "population") {
		return "", invalid("nftId must not be %q, which is a route", id)
	}
	return id, err
}

// reputationEvent is every field that some type of event has; [reputation.Event.Validate] knows which
// belongs to which. Texts are pointers where an empty one is not the same as none.
type reputationEvent struct {
	Type         string             `json:"type"`
	EventID      *string            `json:"event_id"`
	Timestamp    *string            `json:"timestamp"`
	CollectionID *string            `json:"collection_id"`
	Sequence     *int64             `json:"sequence"`
	Score        *float64           `json:"score"`
	Dimensions   map[string]float64 `json:"dimensions"`
	TaskType     *string            `json:"task_type"`
	ModelID      string             `json:"model_id"`
	Provider     string             `json:"provider"`
	PoolID       string             `json:"pool_id"`
	Observation  *struct {
		Score       *float64           `json:"score"`
		Dimensions  map[string]float64 `json:"dimensions"`
		LatencyMS   *int64             `json:"latency_ms"`
		EvaluatedBy *string            `json:"evaluated_by"`
	} `json:"quality_observation"`
	RequestContext *struct {
		RequestID    *string `json:"request_id"`
		DelegationID *string `json:"delegation_id"`
	} `json:"request_context"`
	Success      *bool  `json:"success"`
	DurationMS   *int64 `json:"duration_ms"`
	CredentialID string `json:"credential_id"`
	Action       string `json:"action"`
}

// event brings the body into the one shape that the domain knows: the observation of a model's
// performance is nested on the wire and flat inside.
func (b reputationEvent) event(agent, recorder string) (reputation.Event, error) {
	e := reputation.Event{
		AgentID: agent, Recorder: recorder, Type: reputation.EventType(b.Type), Sequence: b.Sequence,
		Score: b.Score, Dimensions: b.Dimensions,
		ModelID: b.ModelID, Provider: b.Provider, PoolID: b.PoolID,
		Success: b.Success, DurationMS: b.DurationMS,
		CredentialID: b.CredentialID, Action: reputation.CredentialAction(b.Action),
	}
	var taskType, timestamp string
	texts := []optionalText{
		{"event_id", b.EventID, &e.ID},
		{"timestamp", b.Timestamp, &timestamp},
		{"collection_id", b.CollectionID, &e.CollectionID},
		{"task_type", b.TaskType, &taskType},
	}
	performed := e.Type == reputation.ModelPerformance
	switch {
	case performed && (b.Score != nil || b.Dimensions != nil):
		return e, invalid("score and dimensions of model_performance belong into quality_observation")
	case performed && b.Observation == nil:
		return e, invalid("quality_observation is required")
	case !performed && b.Observation != nil:
		return e, invalid("quality_observation does not belong to this type of event")
	case !performed && b.RequestContext != nil:
		return e, invalid("request_context does not belong to this type of event")
	}
	if o := b.Observation; o != nil {
		e.Score, e.Dimensions, e.LatencyMS = o.Score, o.Dimensions, o.LatencyMS
		texts = append(texts, optionalText{"evaluated_by", o.EvaluatedBy, &e.EvaluatedBy})
	}
	if c := b.RequestContext; c != nil {
		texts = append(texts, optionalText{"request_id", c.RequestID, &e.RequestID}, optionalText{"delegation_id", c.DelegationID, &e.DelegationID})
	}
	for _, text := range texts {
		if err := text.take(); err != nil {
			return e, err
		}
	}
	e.TaskType = reputation.TaskType(taskType)
	if timestamp != "" {
		at, err := time.Parse(time.RFC3339, timestamp)
		if err != nil || at.IsZero() {
			return e, invalid("timestamp must be a time as in RFC 3339")
		}
		e.At = at
	}
	return e, nil
}

// optionalText is a field that may be absent but not empty.
type optionalText struct {
	name string
	from *string
	to   *string
}

func (t optionalText) take() error {
	if t.from == nil {
		return nil
	}
	if *t.from == "" {
		return invalid("%s must not be empty", t.name)
	}
	*t.to = *t.from
	return nil
}

type reliability struct {
	Reliable bool     `json:"reliable"`
	Reasons  []string `json:"reasons"`
}

type cohort struct {
	ModelID       string              `json:"model_id"`
	TaskType      reputation.TaskType `json:"task_type"`
	PersonalScore *float64            `json:"personal_score"`
	SampleCount   int                 `json:"sample_count"`
	LastUpdated   timestamp           `json:"last_updated"`
}

func cohortBodies(cohorts []reputation.Cohort) []cohort {
	bodies := make([]cohort, len(cohorts))
	for i, c := range cohorts {
		bodies[i] = cohort{c.ModelID, c.TaskType, c.PersonalScore, c.SampleCount, timestamp(c.LastUpdated)}
	}
	return bodies
}

type agentReputation struct {
	Score           *float64           `json:"score"`
	EMA             *float64           `json:"ema"`
	BlendedScore    *float64           `json:"blended_score"`
	PersonalScore   *float64           `json:"personal_score"`
	SampleCount     int                `json:"sample_count"`
	State           reputation.State   `json:"state"`
	Reliability     reliability        `json:"reliability"`
	Dimensions      []cohort           `json:"dimensions"`
	DimensionScores map[string]float64 `json:"dimension_scores"`
	SnapshotAt      timestamp          `json:"snapshot_at"`
}

func reputationBody(v reputation.View) agentReputation {
	return agentReputation{
		Score: v.Score, EMA: v.EMA, BlendedScore: v.Score, PersonalScore: v.EMA,
		SampleCount: v.SampleCount, State: v.State, Reliability: reliability(v.Reliability),
		Dimensions: cohortBodies(v.Cohorts), DimensionScores: v.DimensionScores, SnapshotAt: timestamp(v.SnapshotAt),
	}
}

// postReputationEvent takes observations from services, by the admin key or an allowlisted API key, and
// from wallets of architect tier. Who recorded is what was verified, never what the body says.
func (a *API) postReputationEvent(w http.ResponseWriter, r *http.Request) error {
	x := exchangeFrom(r.Context())
	if x.identity.Kind == auth.Wallet && x.tier.Tier < governance.Architect {
		return tierTooLow(x.tier.Tier, governance.Architect)
	}
	agent, err := agentID(r)
	if err != nil {
		return err
	}
	var body reputationEvent
	if err := decodeJSON(r, &body); err != nil {
		return err
	}
	event, err := body.event(agent, x.owner)
	if err != nil {
		return err
	}
	recorded, err := a.cfg.Reputation.Record(r.Context(), event)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if recorded.Duplicate {
		status = http.StatusOK
	}
	return a.writeJSON(w, status, struct {
		agentReputation

		EventID   string `json:"event_id"`
		NFTID     string `json:"nftId"`
		Duplicate bool   `json:"duplicate"`
	}{reputationBody(recorded.View), recorded.EventID, agent, recorded.Duplicate})
}

func (a *API) getReputation(w http.ResponseWriter, r *http.Request) error {
	agent, err := agentID(r)
	if err != nil {
		return err
	}
	view, err := a.cfg.Reputation.Get(r.Context(), agent)
	if err != nil {
		return err
	}
	return a.writeJSON(w, http.StatusOK, reputationBody(view))
}

func (a *API) getReputationCohorts(w http.ResponseWriter, r *http.Request) error {
	agent, err := agentID(r)
	if err != nil {
		return err
	}
	cohorts, crossModel, err := a.cfg.Reputation.Cohorts(r.Context(), agent)
	if err != nil {
		return err
	}
	return a.writeJSON(w, http.StatusOK, struct {
		Cohorts    []cohort `json:"cohorts"`
		CrossModel *float64 `json:"cross_model_score"`
	}{cohortBodies(cohorts), crossModel})
}

// queryReputation answers a router, which asks for every choice it makes: a key that names no agent is
// no error but an agent without a score.
func (a *API) queryReputation(w http.ResponseWriter, r *http.Request) error {
	if _, err := callerOwner(r); err != nil {
		return err
	}
	var answer struct {
		Score *float64 `json:"score"`
	}
	if agent, ok := strings.CutPrefix(r.URL.Query().Get("routingKey"), "nft:"); ok {
		score, err := a.cfg.Reputation.Score(r.Context(), agent)
		if err != nil {
			return err
		}
		answer.Score = score
	}
	return a.writeJSON(w, http.StatusOK, answer)
}

func (a *API) getReputationPopulation(w http.ResponseWriter, r *http.Request) error {
	p, err := a.cfg.Reputation.Population(r.Context())
	if err != nil {
		return err
	}
	return a.writeJSON(w, http.StatusOK, struct {
		Mean       float64 `json:"mean"`
		Variance   float64 `json:"variance"`
		Size       int     `json:"population_size"`
		StoreCount int     `json:"store_count"`
	}{p.Mean, p.Variance, p.Size, p.StoreCount})
}
