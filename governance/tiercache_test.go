package governance_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"dixie/governance"
	"dixie/governance/governancetest"
)

func put(t *testing.T, m *governance.MemoryTierCache, wallet string, ttl time.Duration) {
	t.Helper()
	if err := m.Put(t.Context(), wallet, governance.Resolution{Tier: governance.Builder, Source: governance.FromStake}, ttl); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, m *governance.MemoryTierCache, wallet string) bool {
	t.Helper()
	got, ok, err := m.Get(t.Context(), wallet)
	if err != nil {
		t.Fatal(err)
	}
	if ok && got.Tier != governance.Builder {
		t.Errorf("%s has become %v", wallet, got)
	}
	return ok
}

func TestMemoryTierCache(t *testing.T) {
	t.Parallel()
	governancetest.TierCache(t, func(t *testing.T, test func(*testing.T, governancetest.Subject)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			advance := func(d time.Duration) {
				time.Sleep(d) // fake clock
			}
			test(t, governancetest.Subject{TierCache: governance.NewMemoryTierCache(0), Advance: advance})
		})
	})
}

func TestMemoryTierCacheIsBounded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ size, bound int }{{0, 10_000}, {-1, 10_000}, {3, 3}, {1, 1}} {
		m := governance.NewMemoryTierCache(tc.size)
		for i := range tc.bound {
			put(t, m, strconv.Itoa(i), time.Hour)
		}
		if !has(t, m, "0") { // Which makes it the most recently used.
			t.Errorf("size %d: one went before it was full", tc.size)
		}
		put(t, m, "one more", time.Hour)
		if !has(t, m, "one more") {
			t.Errorf("size %d: the newest is not there", tc.size)
		}
		if tc.bound > 1 && !has(t, m, "0") {
			t.Errorf("size %d: one that was used went", tc.size)
		}
		if leastUsed := strconv.Itoa(min(1, tc.bound-1)); has(t, m, leastUsed) {
			t.Errorf("size %d: the least recently used is still there", tc.size)
		}
	}
}

func TestMemoryTierCacheExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := governance.NewMemoryTierCache(2)
		put(t, m, wallet, time.Minute)
		put(t, m, "longer", time.Hour)
		time.Sleep(time.Minute - time.Nanosecond) // fake clock
		if !has(t, m, wallet) {
			t.Error("gone early")
		}
		time.Sleep(time.Nanosecond) // fake clock
		if has(t, m, wallet) {
			t.Error("there after its time")
		}
		put(t, m, wallet, time.Minute)
		if !has(t, m, wallet) || !has(t, m, "longer") {
			t.Error("a new entry does not count")
		}
	})
}
