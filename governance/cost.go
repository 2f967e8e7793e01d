package governance

import (
	"fmt"
	"math"
)

// Cost is the price of a task in units, with the factors that made it. A unit is 10,000 micro-USD.
type Cost struct {
	Base        float64
	Utilization float64
	Reputation  float64
	Complexity  float64
	Final       float64
	// Breakdown shows the same as text.
	Breakdown string
}

const (
	baseCost      = 1.0
	lowestCost    = 0.1 // The floor of INV-023: no task is free.
	microPerUnit  = 10_000
	noReputation  = 1.0
	highestFactor = 1.5
	// roundTo removes what binary fractions add to decimal factors, so that 0.7 times 0.7 costs 4900
	// and not 4901 micro-USD.
	roundTo = 1e9
)

// Share is how busy a fleet is: the active among its tasks of the last 24 hours.
type Share struct {
	Known bool
	Value float64
}

// Utilization is the share of active tasks. A fleet without tasks is idle.
func Utilization(active, total int) Share {
	if total <= 0 {
		return Share{Known: true}
	}
	return Share{Known: true, Value: min(1, max(0, float64(active)/float64(total)))}
}

// text is the share for people.
func (s Share) text() string {
	if !s.Known {
		return "unknown"
	}
	return fmt.Sprintf("%.1f%% used", s.Value*100)
}

// multiplier makes work dearer in a busy fleet. A share that is not known changes nothing.
func (s Share) multiplier() float64 {
	switch {
	case !s.Known:
		return 1
	case s.Value < 0.4:
		return 0.7
	case s.Value < 0.8:
		return 1
	case s.Value < 0.95:
		return 1.5
	default:
		return 3
	}
}

// complexity is by the kind of task and the length of its description in characters.
func complexity(taskType string, length int) float64 {
	factor := 1.0
	switch taskType {
	case "review":
		factor = 0.6
	case "docs":
		factor = 0.7
	case "bug_fix":
		factor = 0.8
	case "refactor":
		factor = 0.9
	}
	switch {
	case length > 1000:
		factor += 0.4
	case length > 500:
		factor += 0.2
	}
	return min(highestFactor, round(factor))
}

func round(f float64) float64 { return math.Round(f*roundTo) / roundTo }

// SpawnCost prices a task: base times utilization times reputation times complexity, a tenth of a unit at
// least. Operators have no reputation of their own yet, so its factor is 1.
func SpawnCost(taskType string, descriptionLength int, share Share) Cost {
	c := Cost{
		Base: baseCost, Utilization: share.multiplier(), Reputation: noReputation,
		Complexity: complexity(taskType, descriptionLength),
	}
	raw := round(c.Base * c.Utilization * c.Reputation * c.Complexity)
	c.Final = max(lowestCost, raw)
	c.Breakdown = fmt.Sprintf(
		"base=%g | utilization=%gx (%s) | reputation=%.3fx | complexity=%gx (%s, %d chars) | raw=%.4f | floor=%g | final=%.4f",
		c.Base, c.Utilization, share.text(), c.Reputation, c.Complexity, taskType, descriptionLength, raw, lowestCost, c.Final)
	return c
}

// MicroUSD is the price in micro-USD, rounded up.
func (c Cost) MicroUSD() int64 { return int64(math.Ceil(round(c.Final * microPerUnit))) }
