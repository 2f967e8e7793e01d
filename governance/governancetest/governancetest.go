// Package governancetest holds every [governance.TierCache] to its description. It is for tests only.
package governancetest

import (
	"sync"
	"testing"
	"time"

	"dixie/governance"
)

const (
	alice = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
	bob   = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
	// short is a time to live that a case can wait for, also where it really passes.
	short = time.Second
)

// Subject is an empty cache under test.
type Subject struct {
	governance.TierCache

	// Advance lets time pass.
	Advance func(time.Duration)
}

// TierCache runs the suite. For each case arrange makes an empty cache and calls test with it.
func TierCache(t *testing.T, arrange func(t *testing.T, test func(*testing.T, Subject))) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Subject){
		"TiersAreKept":       tiersAreKept,
		"TiersExpire":        tiersExpire,
		"TheLastOneCounts":   theLastOneCounts,
		"ManyMayUseItAtOnce": manyMayUseItAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrange(t, test)
		})
	}
}

func put(t *testing.T, s Subject, wallet string, r governance.Resolution, ttl time.Duration) {
	t.Helper()
	if err := s.Put(t.Context(), wallet, r, ttl); err != nil {
		t.Fatal(err)
	}
}

// has fails the test when the wallet has another resolution than want.
func has(t *testing.T, s Subject, wallet string, want governance.Resolution) bool {
	t.Helper()
	got, ok, err := s.Get(t.Context(), wallet)
	if err != nil {
		t.Fatal(err)
	}
	if ok && got != want {
		t.Errorf("%v has become %v", want, got)
	}
	return ok
}

// resolutions are those that a [governance.Resolver] keeps.
func resolutions() []governance.Resolution {
	return []governance.Resolution{
		{Tier: governance.Observer, Source: governance.FromStake},
		{Tier: governance.Participant, Source: governance.FromStake},
		{Tier: governance.Builder, Source: governance.FromStake},
		{Tier: governance.Architect, Source: governance.FromStake},
		{Tier: governance.Sovereign, Source: governance.FromStake},
		{Tier: governance.Architect, Source: governance.FromAllowlist},
	}
}

func tiersAreKept(t *testing.T, s Subject) {
	t.Helper()
	for _, r := range resolutions() {
		put(t, s, alice, r, time.Hour)
		if !has(t, s, alice, r) {
			t.Errorf("%v is not there", r)
		}
	}
	if has(t, s, bob, governance.Resolution{}) {
		t.Error("a wallet that was never put is there")
	}
}

func tiersExpire(t *testing.T, s Subject) {
	t.Helper()
	r := resolutions()[2]
	put(t, s, alice, r, short)
	put(t, s, bob, r, time.Hour)
	s.Advance(short)
	if has(t, s, alice, r) {
		t.Error("there after its time")
	}
	if !has(t, s, bob, r) {
		t.Error("gone early")
	}
	put(t, s, alice, r, time.Hour)
	if !has(t, s, alice, r) {
		t.Error("a new entry does not count")
	}
}

// theLastOneCounts also for how long it counts.
func theLastOneCounts(t *testing.T, s Subject) {
	t.Helper()
	first, last := resolutions()[4], resolutions()[1]
	put(t, s, alice, first, short)
	put(t, s, alice, last, time.Hour)
	put(t, s, bob, first, time.Hour)
	put(t, s, bob, last, short)
	s.Advance(short)
	if !has(t, s, alice, last) {
		t.Error("the first one's time counts")
	}
	if has(t, s, bob, last) {
		t.Error("the first one's time counts")
	}
}

func manyMayUseItAtOnce(t *testing.T, s Subject) {
	t.Helper()
	r := resolutions()[3]
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := s.Put(t.Context(), alice, r, time.Hour); err != nil {
				t.Error(err)
			}
			if got, ok, err := s.Get(t.Context(), alice); !ok || err != nil || got != r {
				t.Errorf("%v, %v, %v", got, ok, err)
			}
		})
	}
	wg.Wait()
}
