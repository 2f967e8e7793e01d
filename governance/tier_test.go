package governance_test

import (
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/governance"
)

func allTiers() []governance.Tier {
	return []governance.Tier{
		governance.Observer, governance.Participant, governance.Builder, governance.Architect, governance.Sovereign,
	}
}

func TestTierTable(t *testing.T) {
	t.Parallel()
	type row struct {
		Name       string
		MinStake   float64
		Pool       string
		FleetLimit int
		TrustScore float64
		State      string
	}
	want := []row{
		{"observer", 0, "pool_observer", 0, 0, "cold"},
		{"participant", 1, "pool_standard", 0, 0.2, "warming"},
		{"builder", 100, "pool_standard", 1, 0.5, "established"},
		{"architect", 1000, "pool_premium", 3, 0.8, "established"},
		{"sovereign", 10000, "pool_premium", 10, 1, "authoritative"},
	}
	var got []row
	for _, tier := range allTiers() {
		got = append(got, row{
			tier.String(), tier.MinStake(), tier.ModelPool(), tier.FleetLimit(), tier.TrustScore(), tier.State(),
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestWhatIsNoTierHasNoRights(t *testing.T) {
	t.Parallel()
	for _, tier := range []governance.Tier{-1, 5, 99} {
		if tier.FleetLimit() != 0 || tier.TrustScore() != 0 || tier.ModelPool() != "pool_observer" || tier.String() != "observer" {
			t.Errorf("tier %d: %v, %d tasks, pool %s", int(tier), tier, tier.FleetLimit(), tier.ModelPool())
		}
	}
}

func TestTierForStake(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		stake float64
		want  governance.Tier
	}{
		{-1, governance.Observer},
		{0, governance.Observer},
		{0.999, governance.Observer},
		{1, governance.Participant},
		{99.999, governance.Participant},
		{100, governance.Builder},
		{999.999, governance.Builder},
		{1000, governance.Architect},
		{9999.999, governance.Architect},
		{10000, governance.Sovereign},
		{math.MaxFloat64, governance.Sovereign},
		{math.NaN(), governance.Observer},
		{math.Inf(1), governance.Observer},
		{math.Inf(-1), governance.Observer},
	} {
		if got := governance.TierForStake(tc.stake); got != tc.want {
			t.Errorf("%v BGT: %v, want %v", tc.stake, got, tc.want)
		}
	}
}

func TestTierAsText(t *testing.T) {
	t.Parallel()
	for _, tier := range allTiers() {
		text, err := json.Marshal(tier)
		if err != nil {
			t.Fatal(err)
		}
		back := governance.Tier(-1)
		if err := json.Unmarshal(text, &back); err != nil || back != tier {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	for _, name := range []string{"", "king", "Observer", "observer ", "0"} {
		if tier, err := governance.ParseTier(name); !errors.Is(err, governance.ErrUnknownTier) || tier != governance.Observer {
			t.Errorf("%q: %v, %v", name, tier, err)
		}
		kept := governance.Builder
		if err := kept.UnmarshalText([]byte(name)); err == nil || kept != governance.Builder {
			t.Errorf("%q was read as %v, %v", name, kept, err)
		}
	}
}
