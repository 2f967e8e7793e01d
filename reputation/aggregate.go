package reputation

import (
	"maps"
	"slices"
	"time"
)

// ContractVersion is the version of the protocol whose aggregate this is.
const ContractVersion = "8.2.0"

// Aggregate is everything that an agent's events amount to. The JSON form is the
// one in which stores keep aggregates; it loses nothing.
//
// The first event of an agent makes its aggregate, whatever its type: an agent
// that has only events without a score is cold, and its scores are nil.
type Aggregate struct {
	AgentID string `json:"agent_id"`
	State   State  `json:"state"`
	// PersonalScore is the moving average of the agent's own samples; nil before the
	// first.
	PersonalScore *float64 `json:"personal_score"`
	// BlendedScore is PersonalScore blended with CollectionScore; nil before the first
	// sample.
	BlendedScore *float64 `json:"blended_score"`
	// CollectionScore is the prior: that of the last sample, or of the first event
	// while there is no sample.
	CollectionScore float64 `json:"collection_score"`
	SampleCount     int     `json:"sample_count"`
	PseudoCount     int     `json:"pseudo_count"`
	MinSampleCount  int     `json:"min_sample_count"`
	// Dimensions are the moving averages of the named aspects, [MaxDimensions] at
	// most; of the names that would exceed it in one event, the first in
	// alphabetical order come in. [Aggregate.DimensionScores] blends them.
	Dimensions map[string]float64 `json:"dimensions,omitempty"`
	// Cohorts are ordered by model and task type, [MaxCohorts] at most.
	Cohorts []Cohort `json:"cohorts,omitempty"`
	// Transitions are the moves from state to state, oldest first.
	Transitions     []Transition `json:"transition_history,omitempty"`
	ContractVersion string       `json:"contract_version"`
	// Version is the number of the agent's events.
	Version int `json:"version"`
	// CreatedAt is when the first event was recorded.
	CreatedAt time.Time `json:"created_at"`
	// LastUpdated is the time of the newest evidence for the score: the latest
	// observation, or the first event while there is none. An observation that comes
	// in late does not make it older.
	LastUpdated time.Time `json:"last_updated"`
}

// Clone returns a copy that shares nothing with the aggregate.
func (a Aggregate) Clone() Aggregate {
	a.PersonalScore = copied(a.PersonalScore)
	a.BlendedScore = copied(a.BlendedScore)
	a.Dimensions = maps.Clone(a.Dimensions)
	a.Cohorts = cloneCohorts(a.Cohorts)
	a.Transitions = slices.Clone(a.Transitions)

	return a
}

// DimensionScores returns the dimensions, each blended as the main score is: with
// the same prior and the same number of samples. The averages are stored unblended
// so that the prior is mixed in once and not again with each event. The map is new
// and never nil.
func (a Aggregate) DimensionScores() map[string]float64 {
	scores := make(map[string]float64, len(a.Dimensions))
	for name, average := range a.Dimensions {
		scores[name] = Blend(a.CollectionScore, &average, a.SampleCount)
	}

	return scores
}

// PriorFor is the prior for the next sample of an agent: the mean of the
// population if it has members, else the prior that the aggregate has, else
// [NeutralPrior]. The aggregate is nil for a new agent.
func PriorFor(a *Aggregate, population Moments) float64 {
	switch {
	case population.Count > 0:
		return population.Mean
	case a != nil:
		return a.CollectionScore
	default:
		return NeutralPrior
	}
}

// Next is the aggregate after one more entry, whose Prior is set. The aggregate
// before is nil for an agent's first entry; it is not changed. Next depends on
// nothing else, which makes an aggregate a function of its log.
func Next(before *Aggregate, e Entry) Aggregate {
	var a Aggregate

	if before == nil {
		a = Aggregate{
			AgentID:         e.Event.AgentID,
			State:           Cold,
			CollectionScore: e.Prior,
			PseudoCount:     PseudoCount,
			MinSampleCount:  MinSampleCount,
			ContractVersion: ContractVersion,
			CreatedAt:       e.RecordedAt,
			LastUpdated:     e.Event.At,
		}
	} else {
		a = before.Clone()
	}

	a.Version++

	switch {
	case e.Event.scored():
		observe(&a, e)
	case e.Event.Type == TaskCompleted:
		completeCohort(a.Cohorts, e.Event.model(), e.Event.TaskType, e.Event.At)
	}

	return a
}

// observe gives the aggregate, which is the caller's own, a sample.
func observe(a *Aggregate, e Entry) {
	score, n := *e.Event.Score, a.SampleCount
	average := EMA(a.PersonalScore, score, n)
	blended := Blend(e.Prior, &average, n+1)

	observeDimensions(a, e.Event.Dimensions, n)
	a.Cohorts = observeCohort(a.Cohorts, e.Event.model(), e.Event.TaskType, score, e.Event.At)
	a.PersonalScore, a.BlendedScore = &average, &blended
	a.CollectionScore = e.Prior
	a.SampleCount = n + 1

	if n == 0 {
		a.LastUpdated = e.Event.At
	}

	a.LastUpdated = later(a.LastUpdated, e.Event.At)

	for {
		to, trigger := advance(a.State, a.SampleCount)
		if to == a.State {
			return
		}

		a.Transitions = append(a.Transitions, Transition{From: a.State, To: to, At: e.RecordedAt, Trigger: trigger})
		a.State = to
	}
}

func observeDimensions(a *Aggregate, observed map[string]float64, n int) {
	if len(observed) > 0 && a.Dimensions == nil {
		a.Dimensions = make(map[string]float64, len(observed))
	}

	for _, name := range slices.Sorted(maps.Keys(observed)) {
		if old, known := a.Dimensions[name]; known {
			a.Dimensions[name] = EMA(&old, observed[name], n)
		} else if len(a.Dimensions) < MaxDimensions {
			a.Dimensions[name] = observed[name]
		}
	}
}

// cloneCohorts copies the scores into one array behind all pointers.
func cloneCohorts(cohorts []Cohort) []Cohort {
	if cohorts == nil {
		return nil
	}

	clones := slices.Clone(cohorts)
	scores := make([]float64, len(cohorts))

	for i, c := range cohorts {
		if c.PersonalScore != nil {
			scores[i] = *c.PersonalScore
			clones[i].PersonalScore = &scores[i]
		}
	}

	return clones
}
