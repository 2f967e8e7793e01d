// Package governance says what a wallet may do: its conviction tier, how the tier is found and how far
// it is from the one that a route needs. Tiers are values without I/O; a [Resolver] is safe for
// concurrent use.
package governance

import (
	"errors"
	"fmt"
	"math"
)

// Tier is a wallet's standing. Tiers are ordered from lowest to highest.
type Tier int

// The tiers.
const (
	Observer Tier = iota
	Participant
	Builder
	Architect
	Sovereign
)

// ErrUnknownTier is returned for a word that names no tier.
var ErrUnknownTier = errors.New("governance: unknown tier")

// tierRow is what a tier stands for.
type tierRow struct {
	name       string
	minStake   float64
	pool       string
	fleetLimit int
	trustScore float64
	state      string
}

// row returns the tier's row; a value that is no tier counts as the lowest.
func (t Tier) row() tierRow {
	switch t {
	case Participant:
		return tierRow{"participant", 1, "pool_standard", 0, 0.2, "warming"}
	case Builder:
		return tierRow{"builder", 100, "pool_standard", 1, 0.5, "established"}
	case Architect:
		return tierRow{"architect", 1000, "pool_premium", 3, 0.8, "established"}
	case Sovereign:
		return tierRow{"sovereign", 10000, "pool_premium", 10, 1, "authoritative"}
	case Observer:
	}
	return tierRow{"observer", 0, "pool_observer", 0, 0, "cold"}
}

// tiers lists them from lowest to highest.
func tiers() []Tier { return []Tier{Observer, Participant, Builder, Architect, Sovereign} }

// String is the tier's name.
func (t Tier) String() string { return t.row().name }

// MinStake is the stake, in BGT, from which on a wallet has the tier.
func (t Tier) MinStake() float64 { return t.row().minStake }

// ModelPool names the models that the tier may use.
func (t Tier) ModelPool() string { return t.row().pool }

// FleetLimit is how many tasks of a wallet may be active at a time.
func (t Tier) FleetLimit() int { return t.row().fleetLimit }

// TrustScore is the tier's score from 0 to 1.
func (t Tier) TrustScore() float64 { return t.row().trustScore }

// State is the tier's reputation state: cold, warming, established or authoritative.
func (t Tier) State() string { return t.row().state }

// MarshalText implements encoding.TextMarshaler.
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It fails with [ErrUnknownTier].
func (t *Tier) UnmarshalText(text []byte) error {
	parsed, err := ParseTier(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// ParseTier reads a tier's name. It fails with [ErrUnknownTier].
func ParseTier(name string) (Tier, error) {
	for _, t := range tiers() {
		if t.String() == name {
			return t, nil
		}
	}
	return Observer, fmt.Errorf("%w: %q", ErrUnknownTier, name)
}

// TierForStake is the highest tier whose stake is reached. A stake that is no number reaches none.
func TierForStake(bgt float64) Tier {
	tier := Observer
	for _, t := range tiers() {
		if bgt >= t.MinStake() {
			tier = t
		}
	}
	return tier
}

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
	switch t.State() {
	case "warming":
		return 1
	case "established":
		return 2 //nolint:mnd // States in their order.
	case "authoritative":
		return 3 //nolint:mnd // As above.
	default:
		return 0
	}
}
