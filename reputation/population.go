package reputation

// Moments are the running moments of the moving averages of all agents, one value
// an agent, after Welford. The zero value is the empty population.
type Moments struct {
	// Count is the number of agents with a score.
	Count int `json:"count"`
	// Mean is their mean; 0 for the empty population.
	Mean float64 `json:"mean"`
	// M2 is the sum of the squared distances from the mean, never negative.
	M2 float64 `json:"m2"`
}

// Add returns the moments with the value of one more agent.
func (m Moments) Add(x float64) Moments {
	m.Count++
	before := x - m.Mean
	m.Mean = unit(m.Mean + before/float64(m.Count))
	m.M2 = max(0, m.M2+float64(before*(x-m.Mean)))

	return m
}

// Replace returns the moments after one agent's value changed from before to after, so
// that an agent counts once however many events it has. For the empty population
// it is [Moments.Add].
func (m Moments) Replace(before, after float64) Moments {
	switch {
	case m.Count <= 0:
		return Moments{}.Add(after)
	case m.Count == 1:
		// Exact, where the general formula would leave a trace of the old value.
		return Moments{Count: 1, Mean: after}
	}

	mean := unit(m.Mean + (after-before)/float64(m.Count))
	m.M2 = max(0, m.M2+float64((after-before)*((after-mean)+(before-m.Mean))))
	m.Mean = mean

	return m
}

// Variance is the variance of the population, which divides by the count; 0 below
// two agents.
func (m Moments) Variance() float64 {
	if m.Count < 2 {
		return 0
	}

	return m.M2 / float64(m.Count)
}

// unit keeps a mean of values from 0 to 1 in their range, which the rounding of
// many replacements could leave by a hair.
func unit(x float64) float64 { return min(1, max(0, x)) }
