package reputation

import (
	"fmt"
	"time"
)

// Thresholds of [Assess].
const (
	ReliableSampleCount = 5
	StaleAfter          = 30 * 24 * time.Hour
	ExpiredAfter        = 60 * 24 * time.Hour
)

// Reliability says whether a score should be relied on, and if not, why.
type Reliability struct {
	Reliable bool `json:"reliable"`
	// Reasons is for people, empty exactly when Reliable is true, never nil.
	Reasons []string `json:"reasons"`
}

// Assess judges a score of n samples whose newest evidence is so old. Decayed says
// that n was reduced by [Decay]: an undecayed count overstates evidence of more
// than 30 days, a decayed one does not. Evidence of more than 60 days is never
// relied on.
func Assess(n int, age time.Duration, decayed bool) Reliability {
	reasons := []string{}

	if n < ReliableSampleCount {
		reasons = append(reasons, fmt.Sprintf("sample_count (%d) below minimum threshold (%d)", n, ReliableSampleCount))
	}

	days := int(age.Hours() / 24)

	if age > ExpiredAfter {
		reasons = append(reasons, fmt.Sprintf("last update (%d days ago) is older than 60 days", days))
	}

	if age > StaleAfter && !decayed {
		reasons = append(reasons, fmt.Sprintf("last update (%d days ago) is older than 30 days and the count is not decayed", days))
	}

	return Reliability{Reliable: len(reasons) == 0, Reasons: reasons}
}
