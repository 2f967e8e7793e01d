package governance_test

import (
	"math"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/governance"
)

func TestTierGap(t *testing.T) {
	t.Parallel()
	const score, state = governance.CodeTrustScore, governance.CodeTrustState
	for _, tc := range []struct {
		actual, required governance.Tier
		want             governance.Gap
	}{
		{governance.Observer, governance.Participant, governance.Gap{Codes: []string{score, state}, TrustScoreGap: new(0.2), StateGap: new(1)}},
		{governance.Observer, governance.Builder, governance.Gap{Codes: []string{score, state}, TrustScoreGap: new(0.5), StateGap: new(2)}},
		{governance.Observer, governance.Sovereign, governance.Gap{Codes: []string{score, state}, TrustScoreGap: new(1.0), StateGap: new(3)}},
		// The binary difference of the two scores is 0.30000000000000004.
		{governance.Builder, governance.Architect, governance.Gap{Codes: []string{score}, TrustScoreGap: new(0.3)}},
		{governance.Architect, governance.Sovereign, governance.Gap{Codes: []string{score, state}, TrustScoreGap: new(0.2), StateGap: new(1)}},
	} {
		if diff := cmp.Diff(tc.want, governance.TierGap(tc.actual, tc.required)); diff != "" {
			t.Errorf("%v to %v (-want +got):\n%s", tc.actual, tc.required, diff)
		}
	}
}

// TestTierGapOfEveryPair sees that there is a gap exactly below what is required, and how it is written.
func TestTierGapOfEveryPair(t *testing.T) {
	t.Parallel()
	for _, actual := range allTiers() {
		for _, required := range allTiers() {
			gap := governance.TierGap(actual, required)
			if gap.Codes == nil {
				t.Errorf("%v to %v: no list of codes", actual, required)
			}
			if below := actual < required; (len(gap.Codes) > 0) != below || (gap.TrustScoreGap != nil) != below {
				t.Errorf("%v to %v: %+v", actual, required, gap)
			}
			if gap.TrustScoreGap == nil {
				continue
			}
			if text := strconv.FormatFloat(*gap.TrustScoreGap, 'f', -1, 64); len(text) > len("0.1234") {
				t.Errorf("%v to %v: a gap of %s has more than four decimals", actual, required, text)
			}
			if want := required.TrustScore() - actual.TrustScore(); math.Abs(want-*gap.TrustScoreGap) > 1e-9 {
				t.Errorf("%v to %v: a gap of %v, want %v", actual, required, *gap.TrustScoreGap, want)
			}
		}
	}
}
