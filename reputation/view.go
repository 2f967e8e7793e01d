package reputation

import "time"

// View is an aggregate as readers see it. It belongs to the caller.
type View struct {
	AgentID string
	State   State
	// Score is the blended score and EMA the moving average, both from 0 to 1 and nil
	// while the agent is cold.
	Score, EMA  *float64
	SampleCount int
	Reliability Reliability
	// Cohorts are ordered by model and task type; never nil.
	Cohorts []Cohort
	// DimensionScores are blended like Score; never nil.
	DimensionScores map[string]float64
	Transitions     []Transition
	// LastUpdated is the time of the newest evidence; CreatedAt is when the first
	// event was recorded.
	LastUpdated, CreatedAt time.Time
	// SnapshotAt is when the view was made and its reliability judged.
	SnapshotAt time.Time
	// Version is the number of the agent's events.
	Version int
}

// NewView presents an aggregate at that time.
func NewView(a Aggregate, now time.Time) View {
	a = a.Clone()

	cohorts := a.Cohorts
	if cohorts == nil {
		cohorts = []Cohort{}
	}

	return View{
		AgentID:         a.AgentID,
		State:           a.State,
		Score:           a.BlendedScore,
		EMA:             a.PersonalScore,
		SampleCount:     a.SampleCount,
		Reliability:     Assess(a.SampleCount, now.Sub(a.LastUpdated), false),
		Cohorts:         cohorts,
		DimensionScores: a.DimensionScores(),
		Transitions:     a.Transitions,
		LastUpdated:     a.LastUpdated,
		CreatedAt:       a.CreatedAt,
		SnapshotAt:      now.UTC(),
		Version:         a.Version,
	}
}
