package reputation

import (
	"cmp"
	"slices"
	"time"
)

const (
	// MaxCohorts is the number of cohorts that an agent can have. An event that
	// would need one more leaves no trace in the cohorts; those that exist stay.
	MaxCohorts = 50

	// DefaultModel is the model of the cohorts of events that name none.
	DefaultModel = "default"

	// taskTypeWeight is how much more a cohort of the asked task type counts.
	taskTypeWeight = 3
)

// Cohort is the part of an agent's record that belongs to one model and one type
// of task.
type Cohort struct {
	ModelID  string   `json:"model_id"`
	TaskType TaskType `json:"task_type"`
	// PersonalScore is the moving average of the cohort's own samples, from 0 to 1.
	PersonalScore *float64 `json:"personal_score"`
	SampleCount   int      `json:"sample_count"`
	// LastUpdated is the time of the newest event that changed the cohort.
	LastUpdated time.Time `json:"last_updated"`
}

// CrossModelScore is the mean of the cohorts' scores, weighted by their samples;
// nil if no cohort has a score.
func CrossModelScore(cohorts []Cohort) *float64 {
	return weightedScore(cohorts, func(c Cohort) float64 { return float64(c.SampleCount) })
}

// TaskAwareScore is [CrossModelScore] for somebody who is about to give the agent
// a task of that type: cohorts of the type count three times.
func TaskAwareScore(cohorts []Cohort, taskType TaskType) *float64 {
	return weightedScore(cohorts, func(c Cohort) float64 {
		if c.TaskType == taskType {
			return taskTypeWeight * float64(c.SampleCount)
		}

		return float64(c.SampleCount)
	})
}

func weightedScore(cohorts []Cohort, weight func(Cohort) float64) *float64 {
	var sum, weights float64

	for _, c := range cohorts {
		if c.PersonalScore == nil || c.SampleCount <= 0 {
			continue
		}

		w := weight(c)
		sum += float64(*c.PersonalScore * w)
		weights += w
	}

	if weights == 0 {
		return nil
	}

	score := unit(sum / weights)

	return &score
}

// findCohort returns where the cohort is or belongs. Cohorts are kept in the order
// of model and task type, so that equal logs give equal aggregates.
func findCohort(cohorts []Cohort, model string, taskType TaskType) (int, bool) {
	return slices.BinarySearchFunc(cohorts, Cohort{ModelID: model, TaskType: taskType}, func(a, b Cohort) int {
		return cmp.Or(cmp.Compare(a.ModelID, b.ModelID), cmp.Compare(a.TaskType, b.TaskType))
	})
}

// observeCohort gives the cohort a sample. The slice may be changed in place.
func observeCohort(cohorts []Cohort, model string, taskType TaskType, score float64, at time.Time) []Cohort {
	if taskType == "" || taskType == TaskUnspecified {
		return cohorts
	}

	i, found := findCohort(cohorts, model, taskType)
	if !found {
		if len(cohorts) >= MaxCohorts {
			return cohorts
		}

		return slices.Insert(cohorts, i, Cohort{
			ModelID: model, TaskType: taskType, PersonalScore: &score, SampleCount: 1, LastUpdated: at,
		})
	}

	c := &cohorts[i]
	average := EMA(c.PersonalScore, score, c.SampleCount)
	c.PersonalScore = &average
	c.SampleCount++
	c.LastUpdated = later(c.LastUpdated, at)

	return cohorts
}

// completeCohort counts a finished task for the cohort, if there is one.
func completeCohort(cohorts []Cohort, model string, taskType TaskType, at time.Time) {
	i, found := findCohort(cohorts, model, taskType)
	if !found {
		return
	}

	cohorts[i].SampleCount++
	cohorts[i].LastUpdated = later(cohorts[i].LastUpdated, at)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}

	return a
}
