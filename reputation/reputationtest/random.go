package reputationtest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"dixie/reputation"
)

// Random makes so many batches of up to the given size: events of all types for a
// few agents, now and then one that was there before, or another one under its id.
// Equal generators give equal batches.
func Random(rng *rand.Rand, batches, size int) [][]reputation.Entry {
	var (
		all [][]reputation.Entry
		old []reputation.Event
	)

	for range batches {
		var batch []reputation.Entry

		for range 1 + rng.IntN(size) {
			e := randomEvent(rng)

			if len(old) > 0 {
				switch rng.IntN(12) {
				case 0:
					e = old[rng.IntN(len(old))]
				case 1:
					e.ID = old[rng.IntN(len(old))].ID
				}
			}

			old = append(old, e)

			// The events are valid; should one not be, the suite would miss it.
			if made, err := reputation.NewEntry(e, epoch.Add(time.Duration(len(old))*time.Second)); err == nil {
				batch = append(batch, made)
			}
		}

		all = append(all, batch)
	}

	return all
}

func randomEvent(rng *rand.Rand) reputation.Event {
	e := reputation.Event{
		ID:      randomUUID(rng),
		AgentID: fmt.Sprintf("agent-%d", rng.IntN(6)),
	}

	if rng.IntN(3) > 0 {
		e.At = epoch.Add(-time.Duration(rng.Int64N(int64(90 * 24 * time.Hour))))
	}

	taskTypes := []reputation.TaskType{
		reputation.TaskAnalysis, reputation.TaskCodeReview, reputation.TaskGeneral, reputation.TaskUnspecified, "guild:audits",
	}
	taskType := taskTypes[rng.IntN(len(taskTypes))]

	switch kind := rng.IntN(10); {
	case kind < 5:
		e.Type, e.Score = reputation.QualitySignal, new(rng.Float64())

		if rng.IntN(2) == 0 {
			e.TaskType = taskType
		}
	case kind < 8:
		e.Type, e.Score, e.TaskType = reputation.ModelPerformance, new(rng.Float64()), taskType
		e.ModelID, e.Provider, e.PoolID = fmt.Sprintf("model-%d", rng.IntN(14)), "provider", "pool"
	case kind < 9:
		e.Type, e.TaskType, e.Success = reputation.TaskCompleted, taskType, new(rng.IntN(2) == 0)
	default:
		e.Type, e.CredentialID, e.Action = reputation.CredentialUpdate, randomUUID(rng), reputation.CredentialRenewed
	}

	if e.Score != nil {
		e.Dimensions = map[string]float64{}
		for range rng.IntN(4) {
			e.Dimensions[fmt.Sprintf("name_%d", rng.IntN(25))] = rng.Float64()
		}
	}

	return e
}

func randomUUID(rng *rand.Rand) string {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(rng.UintN(256)) //nolint:gosec // Below 256.
	}

	return id.String()
}
