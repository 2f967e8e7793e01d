package governance_test

import (
	"math/rand/v2"
	"testing"

	"dixie/governance"
)

func TestSpawnCost(t *testing.T) {
	t.Parallel()
	busy, idle, unknown := governance.Utilization, governance.Utilization(0, 0), governance.Share{}
	for _, tc := range []struct {
		name     string
		taskType string
		length   int
		share    governance.Share
		units    float64
		micro    int64
	}{
		{"bug fix at a medium load", "bug_fix", 18, busy(1, 2), 0.8, 8000},
		{"bug fix", "bug_fix", 18, idle, 0.56, 5600},
		{"bug fix at a load not known", "bug_fix", 18, unknown, 0.8, 8000},
		// With the reputation discount of 0.6 that nobody has yet this would be 2.52.
		{"long feature in a full fleet", "feature", 2000, busy(96, 100), 4.2, 42000},
		{"docs", "docs", 500, idle, 0.49, 4900},
		{"docs, one character more", "docs", 501, busy(0, 10), 0.63, 6300},
		{"feature", "feature", 10, idle, 0.7, 7000},
		{"feature of 1000 characters", "feature", 1000, unknown, 1.2, 12000},
		{"feature of 1001 characters", "feature", 1001, unknown, 1.4, 14000},
		{"feature of any length", "feature", 1 << 40, busy(1, 1), 4.2, 42000},
		{"refactor", "refactor", 10, busy(1, 2), 0.9, 9000},
		{"review", "review", 10, idle, 0.42, 4200},
		{"review at a high load", "review", 10, busy(85, 100), 0.9, 9000},
		{"type that has no factor", "rm -rf", 10, unknown, 1, 10000},
		{"load just below 0.4", "feature", 0, busy(399, 1000), 0.7, 7000},
		{"load of 0.4", "feature", 0, busy(2, 5), 1, 10000},
		{"load of 0.8", "feature", 0, busy(4, 5), 1.5, 15000},
		{"load of 0.95", "feature", 0, busy(19, 20), 3, 30000},
		{"more active than there are", "feature", 0, busy(9, 3), 3, 30000},
		{"counts below zero", "feature", -5, busy(-3, 1), 0.7, 7000},
	} {
		if got := governance.SpawnCost(tc.taskType, tc.length, tc.share); got.Final != tc.units || got.MicroUSD() != tc.micro {
			t.Errorf("%s: %v units, %d micro-USD; want %v, %d (%s)", tc.name, got.Final, got.MicroUSD(), tc.units, tc.micro, got.Breakdown)
		}
	}
}

func TestSpawnCostBreakdown(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		share governance.Share
		want  string
	}{
		{
			governance.Utilization(1, 2),
			"base=1 | utilization=1x (50.0% used) | reputation=1.000x | complexity=0.8x (bug_fix, 18 chars) | raw=0.8000 | floor=0.1 | final=0.8000",
		},
		{
			governance.Share{},
			"base=1 | utilization=1x (unknown) | reputation=1.000x | complexity=0.8x (bug_fix, 18 chars) | raw=0.8000 | floor=0.1 | final=0.8000",
		},
	} {
		if got := governance.SpawnCost("bug_fix", 18, tc.share).Breakdown; got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

// TestMicroUSDRoundsUp rounds decimals first: 0.56 times 10,000 is a little more than 5600 in binary.
func TestMicroUSDRoundsUp(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		units float64
		want  int64
	}{
		{0.56, 5600},
		{0.49, 4900},
		{0.1, 1000},
		{0.10001, 1001},
		{4.2, 42000},
	} {
		if got := (governance.Cost{Final: tc.units}).MicroUSD(); got != tc.want {
			t.Errorf("%v units cost %d, want %d", tc.units, got, tc.want)
		}
	}
}

// TestSpawnCostProperties holds whatever is asked: a price between the floor and what the factors can
// give at most, no cheaper for more work or a busier fleet, and the same as the units that are shown.
func TestSpawnCostProperties(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	types := []string{"review", "docs", "bug_fix", "refactor", "feature", "", "else"}
	for range 5000 {
		taskType, length := types[random.IntN(len(types))], random.IntN(2500)-100
		active, total := random.IntN(42)-2, random.IntN(42)-2
		cost := governance.SpawnCost(taskType, length, governance.Utilization(active, total))
		price := cost.MicroUSD()
		if cost.Final < 0.1 || cost.Final > 4.5 || price < 1000 || price > 45_000 {
			t.Fatalf("%s, %d characters, %d of %d: %v units, %d micro-USD", taskType, length, active, total, cost.Final, price)
		}
		if off := float64(price) - cost.Final*10_000; off < -1e-6 || off >= 1 {
			t.Fatalf("%v units are not %d micro-USD", cost.Final, price)
		}
		longer := governance.SpawnCost(taskType, length+600, governance.Utilization(active, total))
		busier := governance.SpawnCost(taskType, length, governance.Utilization(active+1, total))
		if longer.MicroUSD() < price || busier.MicroUSD() < price {
			t.Fatalf("%s, %d characters, %d of %d: more is cheaper", taskType, length, active, total)
		}
	}
}
