package reputation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Report is what [Verify] found.
type Report struct {
	// Events and Agents are how many were looked at.
	Events, Agents int
	// Differing are the agents whose stored aggregate is not what their events amount
	// to, in alphabetical order.
	Differing []string
	// Population says whether the moments of all agents follow from the log too.
	Population bool
}

// OK says whether everything that is stored follows from the log.
func (r Report) OK() bool { return len(r.Differing) == 0 && r.Population }

// Verify reads the whole log of a store, computes what follows from it, and compares
// that with what the store has, bit for bit. Recording may go on meanwhile: what is
// recorded during the comparison is read as well, until both are at the same event.
// All aggregates are in memory at once.
func Verify(ctx context.Context, store Store) (Report, error) {
	v := verification{store: store}
	if err := v.read(ctx); err != nil {
		return Report{}, err
	}

	report := Report{}

	for _, agent := range slices.Sorted(maps.Keys(v.projection.Aggregates)) {
		same, err := v.compare(ctx, agent)
		if err != nil {
			return Report{}, err
		}

		if !same {
			report.Differing = append(report.Differing, agent)
		}
	}

	var err error
	if report.Population, err = v.comparePopulation(ctx); err != nil {
		return Report{}, err
	}

	report.Events, report.Agents = v.events, len(v.projection.Aggregates)

	return report, nil
}

type verification struct {
	store      Store
	projection Projection
	position   int64
	events     int
}

// read follows the log to its end.
func (v *verification) read(ctx context.Context) error {
	for {
		page, err := v.store.Events(ctx, v.position, MaxPage)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}

		if len(page) == 0 {
			return nil
		}

		v.projection = v.projection.With(slices.Values(page))
		v.events += len(page)
		v.position = page[len(page)-1].Position
	}
}

// compare reads on when the agent has events that are newer than what was read.
func (v *verification) compare(ctx context.Context, agent string) (bool, error) {
	for {
		stored, err := v.store.Get(ctx, agent)
		if err != nil {
			return false, fmt.Errorf("read an agent: %w", err)
		}

		before := v.events
		if stored.Version > v.projection.Aggregates[agent].Version {
			if err := v.read(ctx); err != nil {
				return false, err
			}
		}

		if v.events == before {
			return identical(stored, v.projection.Aggregates[agent])
		}
	}
}

// comparePopulation tries again when something was recorded in between.
func (v *verification) comparePopulation(ctx context.Context) (bool, error) {
	for {
		stored, err := v.store.Population(ctx)
		if err != nil {
			return false, fmt.Errorf("read the population: %w", err)
		}

		before := v.events
		if err := v.read(ctx); err != nil {
			return false, err
		}

		if v.events == before {
			return stored == v.projection.Population, nil
		}
	}
}

// identical compares all that is stored of an aggregate. The JSON form of a float names
// its bits, but for zeros of different signs, which no score has.
func identical(a, b Aggregate) (bool, error) {
	one, err := json.Marshal(a)
	if err != nil {
		return false, fmt.Errorf("encode an aggregate: %w", err)
	}

	other, err := json.Marshal(b)
	if err != nil {
		return false, fmt.Errorf("encode an aggregate: %w", err)
	}

	return bytes.Equal(one, other), nil
}
