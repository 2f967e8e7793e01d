package reputation

import (
	"math"
	"time"
)

// Constants of the scoring.
const (
	// PseudoCount is the weight of the prior in a blend, in samples.
	PseudoCount = 10
	// MinSampleCount is the number of samples from which a score is established.
	MinSampleCount = 10
	// NeutralPrior is the prior as long as no agent has a score.
	NeutralPrior = 0.5

	minAlpha        = 0.1
	maxAlpha        = 0.5
	alphaRampLength = 50

	authoritativeWeight = 0.9
	decayHalfLife       = 30 * 24 * time.Hour
)

// The conversions to float64 around products below are not idle: without them a
// compiler may fuse a product with the addition that follows, and the same events
// would give other bits on another processor.

// Alpha is the weight of a new sample in a moving average that n samples formed:
// 0.1 at first, rising in a straight line to 0.5 at 50 samples. A negative n
// counts as 0.
func Alpha(n int) float64 {
	return minAlpha + float64((maxAlpha-minAlpha)*min(1, float64(max(0, n))/alphaRampLength))
}

// EMA is the damped moving average after a new sample: the sample itself if there
// was no average yet, else alpha × sample + (1 - alpha) × old with the alpha of
// the n samples before this one. For values from 0 to 1 the result is in between.
func EMA(old *float64, sample float64, n int) float64 {
	if old == nil {
		return sample
	}

	alpha := Alpha(n)

	return float64(alpha*sample) + float64((1-alpha)**old)
}

// Blend pulls an average of n samples towards the prior, which weighs as much as
// [PseudoCount] samples: (k × prior + n × average) / (k + n), where n counts the
// newest sample. Without an average it is the prior.
func Blend(prior float64, average *float64, n int) float64 {
	if average == nil {
		return prior
	}

	count := float64(max(0, n))

	return (float64(PseudoCount*prior) + float64(count**average)) / (PseudoCount + count)
}

// PersonalWeight is the part of a blend of n samples that is the agent's own:
// n / (k + n).
func PersonalWeight(n int) float64 {
	count := float64(max(0, n))

	return count / (PseudoCount + count)
}

// Decay is what n samples are still worth at that age: they lose half of their
// weight every 30 days. Stored counts are never decayed; this is for readers. A
// negative age counts as 0.
func Decay(n float64, age time.Duration) float64 {
	days := max(0, age).Hours() / 24

	return n * math.Exp(-math.Ln2/(decayHalfLife.Hours()/24)*days)
}
