package governance

import (
	"math"
	"slices"
)

// Gap is how far a tier is from another. Fields that are nil have no gap.
type Gap struct {
	// Codes says which gaps there are.
	Codes []string
	// TrustScoreGap is rounded to four decimals.
	TrustScoreGap *float64
	// StateGap counts the states in between.
	StateGap *int
}

// The codes of a [Gap].
const (
	CodeTrustScore = "TRUST_SCORE_BELOW_THRESHOLD"
	CodeTrustState = "TRUST_STATE_BELOW_THRESHOLD"
)

// TierGap measures how far actual is below required.
func TierGap(actual, required Tier) Gap {
	const decimals = 10_000
	gap := Gap{Codes: []string{}}
	if score := math.Round((required.TrustScore()-actual.TrustScore())*decimals) / decimals; score > 0 {
		gap.TrustScoreGap = &score
		gap.Codes = append(gap.Codes, CodeTrustScore)
	}
	if states := stateRank(required) - stateRank(actual); states > 0 {
		gap.StateGap = &states
		gap.Codes = append(gap.Codes, CodeTrustState)
	}
	return gap
}

func stateRank(t Tier) int {
	return slices.Index([]string{"cold", "warming", "established", "authoritative"}, t.State())
}
