package reputation

import "iter"

// Loaded is what a store found, under its lock, for a batch of entries. The fold
// reads it and does not change it.
type Loaded struct {
	// Aggregates holds those of the agents in the batch that have one, by agent id.
	Aggregates map[string]Aggregate
	// Population is that of the whole store.
	Population Moments
	// Fingerprints holds those of the entries in the log whose event ids appear in
	// the batch, by event id.
	Fingerprints map[string]string
}

// Changes is what a store commits, all or nothing.
type Changes struct {
	// Entries are to be appended to the log in this order, and get their positions
	// then.
	Entries []Entry
	// Aggregates replace those that the store has, by agent id.
	Aggregates map[string]Aggregate
	// Population replaces the one that the store has.
	Population Moments
	// Outcomes are to be returned, one for each entry of the batch in its order.
	Outcomes []Outcome
}

// Outcome is what became of one entry of a batch.
type Outcome struct {
	// Aggregate is the agent's aggregate after the entry; for a duplicate, as it is
	// now. It shares nothing with the store. It is empty when Err is set.
	Aggregate Aggregate
	// Duplicate says that an event with the same id and content was recorded before,
	// and that nothing was counted again.
	Duplicate bool
	// Err is [ErrEventConflict] or nil. It concerns this entry only.
	Err error
}

// Fold decides what a batch of entries does to what a store has. It is a pure
// function: no I/O, no clock, and equal input gives equal output, so a store may
// call it again when a transaction has to be repeated.
type Fold func(loaded Loaded, batch []Entry) Changes

var _ Fold = FoldBatch

// FoldBatch is the [Fold] of this package. It applies the entries one after the
// other, each to the result of those before it: the prior is taken first, then the
// population learns the new average, so that no sample is part of its own prior.
// An entry whose event id is known, from the log or from earlier in the batch, is
// a duplicate if the content is the same and a conflict if it is not; neither
// changes anything.
func FoldBatch(loaded Loaded, batch []Entry) Changes {
	changes := Changes{
		Entries:    make([]Entry, 0, len(batch)),
		Aggregates: make(map[string]Aggregate, len(batch)),
		Population: loaded.Population,
		Outcomes:   make([]Outcome, len(batch)),
	}
	added := make(map[string]string, len(batch))
	current := func(agentID string) *Aggregate {
		if a, ok := changes.Aggregates[agentID]; ok {
			return &a
		}

		if a, ok := loaded.Aggregates[agentID]; ok {
			return &a
		}

		return nil
	}

	for i, entry := range batch {
		before := current(entry.Event.AgentID)

		known, isKnown := loaded.Fingerprints[entry.Event.ID]
		if !isKnown {
			known, isKnown = added[entry.Event.ID]
		}

		switch {
		case isKnown && (known != entry.Fingerprint || before == nil):
			changes.Outcomes[i] = Outcome{Err: ErrEventConflict}

			continue
		case isKnown:
			changes.Outcomes[i] = Outcome{Aggregate: before.Clone(), Duplicate: true}

			continue
		}

		entry = entry.Clone()
		entry.Prior = PriorFor(before, changes.Population)
		after := Next(before, entry)

		added[entry.Event.ID] = entry.Fingerprint
		changes.Entries = append(changes.Entries, entry)
		changes.Aggregates[entry.Event.AgentID] = after
		changes.Population = feed(changes.Population, before, after)
		changes.Outcomes[i] = Outcome{Aggregate: after.Clone()}
	}

	return changes
}

// feed returns the population after an agent went from one aggregate to the next.
func feed(population Moments, before *Aggregate, after Aggregate) Moments {
	switch {
	case after.PersonalScore == nil || (before != nil && after.SampleCount == before.SampleCount):
		return population
	case before == nil || before.PersonalScore == nil:
		return population.Add(*after.PersonalScore)
	default:
		return population.Replace(*before.PersonalScore, *after.PersonalScore)
	}
}

// Projection is everything that follows from an event log.
type Projection struct {
	// Aggregates holds one for each agent, by agent id.
	Aggregates map[string]Aggregate
	Population Moments
}

// Rebuild computes what follows from a log, given in the order of its positions.
// The result is equal, bit for bit, to what a store has that recorded the log. The
// aggregate of one agent follows from its own entries alone, because they keep
// their priors; only the population needs all of them.
func Rebuild(log iter.Seq[Entry]) Projection {
	return Projection{}.With(log)
}

// With returns the projection after further entries of the log. The projection that it
// is called on must not be used afterwards: they share their aggregates.
func (p Projection) With(log iter.Seq[Entry]) Projection {
	if p.Aggregates == nil {
		p.Aggregates = map[string]Aggregate{}
	}

	for entry := range log {
		var before *Aggregate
		if a, ok := p.Aggregates[entry.Event.AgentID]; ok {
			before = &a
		}

		after := Next(before, entry)
		p.Aggregates[entry.Event.AgentID] = after
		p.Population = feed(p.Population, before, after)
	}

	return p
}
