package governance_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dixie/governance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTierForStake(t *testing.T) {
	t.Parallel()
	for stake, want := range map[float64]governance.Tier{
		-1: governance.Observer, 0: governance.Observer, 0.99: governance.Observer, 1: governance.Participant,
		99.9: governance.Participant, 100: governance.Builder, 1000: governance.Architect, 9999: governance.Architect,
		10000: governance.Sovereign, 1e18: governance.Sovereign,
	} {
		if got := governance.TierForStake(stake); got != want {
			t.Errorf("%v: %v, want %v", stake, got, want)
		}
	}
}

func TestTierNames(t *testing.T) {
	t.Parallel()
	for tier := governance.Observer; tier <= governance.Sovereign; tier++ {
		text, err := tier.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back governance.Tier
		if err := back.UnmarshalText(text); err != nil || back != tier {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	if _, err := governance.ParseTier("king"); !errors.Is(err, governance.ErrUnknownTier) {
		t.Errorf("error %v", err)
	}
}

func TestTierGap(t *testing.T) {
	t.Parallel()
	number := func(f float64) *float64 { return &f }
	states := func(n int) *int { return &n }
	both := []string{governance.CodeTrustScore, governance.CodeTrustState}
	for _, tc := range []struct {
		actual, required governance.Tier
		want             governance.Gap
	}{
		{governance.Observer, governance.Builder, governance.Gap{Codes: both, TrustScoreGap: number(0.5), StateGap: states(2)}},
		{governance.Builder, governance.Architect, governance.Gap{Codes: both[:1], TrustScoreGap: number(0.3)}},
		{governance.Architect, governance.Sovereign, governance.Gap{Codes: both, TrustScoreGap: number(0.2), StateGap: states(1)}},
		{governance.Observer, governance.Participant, governance.Gap{Codes: both, TrustScoreGap: number(0.2), StateGap: states(1)}},
		{governance.Sovereign, governance.Builder, governance.Gap{Codes: []string{}}},
	} {
		if diff := cmp.Diff(tc.want, governance.TierGap(tc.actual, tc.required)); diff != "" {
			t.Errorf("%v to %v: %s", tc.actual, tc.required, diff)
		}
	}
}

// stakes answers from a map and counts the questions; an unknown wallet is an error.
type stakes struct {
	known map[string]float64
	asked atomic.Int32
	wait  chan struct{}
}

func (s *stakes) Staked(ctx context.Context, wallet string) (float64, error) {
	s.asked.Add(1)
	if s.wait != nil {
		select {
		case <-s.wait:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	stake, ok := s.known[wallet]
	if !ok {
		return 0, errors.New("not available")
	}
	return stake, nil
}

func TestResolveInOrder(t *testing.T) {
	t.Parallel()
	r := governance.NewResolver(governance.ResolverConfig{
		Stakes:      &stakes{known: map[string]float64{"staked": 150, "both": 1, "admin": 1}},
		Allowlisted: func(w string) bool { return w == "listed" || w == "both" },
		Admins:      []string{"admin"},
	})
	for wallet, want := range map[string]governance.Resolution{
		"":       {Tier: governance.Observer, Source: governance.FromDefault},
		"admin":  {Tier: governance.Sovereign, Source: governance.FromAdmins},
		"staked": {Tier: governance.Builder, Source: governance.FromStake},
		"both":   {Tier: governance.Participant, Source: governance.FromStake},
		"listed": {Tier: governance.Architect, Source: governance.FromAllowlist},
		"nobody": {Tier: governance.Observer, Source: governance.FromDefault},
	} {
		if diff := cmp.Diff(want, r.Resolve(t.Context(), wallet)); diff != "" {
			t.Errorf("%q: %s", wallet, diff)
		}
	}
}

func TestResultsAndFailuresAreRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &stakes{known: map[string]float64{"w": 1}}
		r := governance.NewResolver(governance.ResolverConfig{Stakes: source, TTL: time.Minute})
		for range 5 {
			r.Resolve(t.Context(), "w")
		}
		if n := source.asked.Load(); n != 1 {
			t.Errorf("asked %d times within the TTL", n)
		}
		time.Sleep(time.Minute + time.Second) // fake clock
		r.Resolve(t.Context(), "w")
		if n := source.asked.Load(); n != 2 {
			t.Errorf("asked %d times after the TTL", n)
		}
		for range 5 {
			r.Resolve(t.Context(), "unknown")
		}
		if n := source.asked.Load(); n != 3 {
			t.Errorf("asked %d times for a wallet without an answer", n)
		}
		time.Sleep(31 * time.Second) // fake clock
		r.Resolve(t.Context(), "unknown")
		if n := source.asked.Load(); n != 4 {
			t.Errorf("asked %d times after half a minute", n)
		}
	})
}

func TestOneQuestionForManyCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &stakes{known: map[string]float64{"w": 10000}, wait: make(chan struct{})}
		r := governance.NewResolver(governance.ResolverConfig{Stakes: source})
		first, goAway := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if got := r.Resolve(first, "w"); got.Source != governance.FromDefault {
				t.Errorf("the one who went away: %v", got)
			}
		})
		synctest.Wait()
		for range 20 {
			wg.Go(func() {
				if got := r.Resolve(t.Context(), "w"); got.Tier != governance.Sovereign {
					t.Errorf("one who waited: %v", got)
				}
			})
		}
		synctest.Wait()
		goAway()
		synctest.Wait()
		close(source.wait)
		wg.Wait()
		if n := source.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

type brokenCache struct{}

func (brokenCache) Get(context.Context, string) (governance.Resolution, bool, error) {
	return governance.Resolution{Tier: governance.Sovereign}, true, errors.New("away")
}

func (brokenCache) Put(context.Context, string, governance.Resolution, time.Duration) error {
	return errors.New("away")
}

func TestABrokenCacheOnlyMisses(t *testing.T) {
	t.Parallel()
	r := governance.NewResolver(governance.ResolverConfig{Stakes: &stakes{known: map[string]float64{"w": 1}}, Cache: brokenCache{}})
	if got := r.Resolve(t.Context(), "w"); got.Tier != governance.Participant {
		t.Errorf("%v", got)
	}
}

func TestMemoryTierCacheIsBounded(t *testing.T) {
	t.Parallel()
	m := governance.NewMemoryTierCache(2)
	for _, w := range []string{"a", "b", "c"} {
		if err := m.Put(t.Context(), w, governance.Resolution{Tier: governance.Builder}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, _ := m.Get(t.Context(), "a"); ok {
		t.Error("the oldest is still there")
	}
	if _, ok, _ := m.Get(t.Context(), "c"); !ok {
		t.Error("the newest is not there")
	}
}

func BenchmarkResolveCached(b *testing.B) {
	r := governance.NewResolver(governance.ResolverConfig{Stakes: &stakes{known: map[string]float64{"w": 1}}})
	b.ReportAllocs()
	for b.Loop() {
		r.Resolve(b.Context(), "w")
	}
}
