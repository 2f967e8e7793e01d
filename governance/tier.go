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

// TierForStake is the highest tier whose stake is reached. What is no finite number reaches none.
func TierForStake(bgt float64) Tier {
	tier := Observer
	if math.IsInf(bgt, 0) {
		return tier
	}
	for _, t := range tiers() {
		if bgt >= t.MinStake() {
			tier = t
		}
	}
	return tier
}
