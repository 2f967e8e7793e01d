package governance_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/governance"
)

const wallet = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

// stakes answers by a function and counts the questions.
type stakes struct {
	asked  atomic.Int32
	answer func(ctx context.Context, wallet string) (float64, error)
}

func (s *stakes) Staked(ctx context.Context, wallet string) (float64, error) {
	s.asked.Add(1)
	return s.answer(ctx, wallet)
}

// always answers every question alike.
func always(bgt float64) *stakes {
	return &stakes{answer: func(context.Context, string) (float64, error) { return bgt, nil }}
}

// away answers none.
func away() *stakes {
	return &stakes{answer: func(context.Context, string) (float64, error) { return 0, errors.New("not available") }}
}

// brokenCache answers, but says that it could not.
type brokenCache struct{}

func (brokenCache) Get(context.Context, string) (governance.Resolution, bool, error) {
	return governance.Resolution{Tier: governance.Sovereign}, true, errors.New("away")
}

func (brokenCache) Put(context.Context, string, governance.Resolution, time.Duration) error {
	return errors.New("away")
}

// panickingCache misses and fails like a bug.
type panickingCache struct{ brokenCache }

func (panickingCache) Put(_ context.Context, wallet string, _ governance.Resolution, _ time.Duration) error {
	return errors.New(wallet[len(wallet):][:1])
}

func everybody(string) bool { return true }

func TestResolveInOrder(t *testing.T) {
	t.Parallel()
	cached := func(tier governance.Tier, source governance.Source) governance.TierCache {
		cache := governance.NewMemoryTierCache(1)
		if err := cache.Put(t.Context(), wallet, governance.Resolution{Tier: tier, Source: source}, time.Hour); err != nil {
			t.Fatal(err)
		}
		return cache
	}
	panicking := &stakes{answer: func(_ context.Context, wallet string) (float64, error) {
		return float64(wallet[len(wallet)]), nil
	}}
	for name, tc := range map[string]struct {
		cfg    governance.ResolverConfig
		tier   governance.Tier
		source governance.Source
	}{
		"admin before all else": {
			governance.ResolverConfig{Admins: []string{wallet}, Cache: cached(governance.Builder, governance.FromStake), Stakes: always(1)},
			governance.Sovereign, governance.FromAdmins,
		},
		"admin in another case": {
			governance.ResolverConfig{Admins: []string{strings.ToLower(wallet)}}, governance.Sovereign, governance.FromAdmins,
		},
		"admins are others": {
			governance.ResolverConfig{Admins: []string{wallet[:41] + "7", ""}}, governance.Observer, governance.FromDefault,
		},
		"cache before stake": {
			governance.ResolverConfig{Cache: cached(governance.Builder, governance.FromStake), Stakes: always(1)},
			governance.Builder, governance.FromStake,
		},
		"stake before allowlist": {
			governance.ResolverConfig{Stakes: always(150), Allowlisted: everybody}, governance.Builder, governance.FromStake,
		},
		"a stake of nothing is a stake": {
			governance.ResolverConfig{Stakes: always(0), Allowlisted: everybody}, governance.Observer, governance.FromStake,
		},
		"allowlist when the source has no answer": {
			governance.ResolverConfig{Stakes: away(), Allowlisted: everybody}, governance.Architect, governance.FromAllowlist,
		},
		"allowlist without a source": {
			governance.ResolverConfig{Allowlisted: everybody}, governance.Architect, governance.FromAllowlist,
		},
		"nothing known": {
			governance.ResolverConfig{Stakes: away()}, governance.Observer, governance.FromDefault,
		},
		"nothing configured": {
			governance.ResolverConfig{}, governance.Observer, governance.FromDefault,
		},
		"broken cache": {
			governance.ResolverConfig{Stakes: always(1), Cache: brokenCache{}}, governance.Participant, governance.FromStake,
		},
		"negative stake is no answer": {
			governance.ResolverConfig{Stakes: always(-1), Allowlisted: everybody}, governance.Architect, governance.FromAllowlist,
		},
		"infinite stake is no answer": {
			governance.ResolverConfig{Stakes: always(math.Inf(1))}, governance.Observer, governance.FromDefault,
		},
		"stake that is no number is no answer": {
			governance.ResolverConfig{Stakes: always(math.NaN()), Allowlisted: everybody}, governance.Architect, governance.FromAllowlist,
		},
		"panicking source": {
			governance.ResolverConfig{Stakes: panicking, Allowlisted: everybody}, governance.Architect, governance.FromAllowlist,
		},
		"panicking cache": {
			governance.ResolverConfig{Stakes: always(1), Cache: panickingCache{}}, governance.Observer, governance.FromDefault,
		},
	} {
		want := governance.Resolution{Tier: tc.tier, Source: tc.source}
		if diff := cmp.Diff(want, governance.NewResolver(tc.cfg).Resolve(t.Context(), wallet)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestNoWalletIsAnObserver(t *testing.T) {
	t.Parallel()
	source := always(10_000)
	r := governance.NewResolver(governance.ResolverConfig{Stakes: source, Allowlisted: everybody, Admins: []string{""}})
	want := governance.Resolution{Tier: governance.Observer, Source: governance.FromDefault}
	if diff := cmp.Diff(want, r.Resolve(t.Context(), "")); diff != "" {
		t.Errorf("Resolve (-want +got):\n%s", diff)
	}
	if got, ok := r.Cached(t.Context(), ""); !ok || got != want {
		t.Errorf("Cached: %v, %v", got, ok)
	}
	if n := source.asked.Load(); n != 0 {
		t.Errorf("the source was asked %d times", n)
	}
}

func TestResolutionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		ttl, after time.Duration
		asked      int32
	}{
		{0, 5*time.Minute - time.Nanosecond, 1},
		{0, 5 * time.Minute, 2},
		{time.Minute, time.Minute - time.Nanosecond, 1},
		{time.Minute, time.Minute, 2},
		{-1, 0, 2},
	} {
		t.Run(fmt.Sprintf("TTL %v after %v", tc.ttl, tc.after), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source := always(100)
				r := governance.NewResolver(governance.ResolverConfig{Stakes: source, TTL: tc.ttl})
				if got, ok := r.Cached(t.Context(), wallet); ok {
					t.Errorf("cached before anybody asked: %v", got)
				}
				r.Resolve(t.Context(), wallet)
				time.Sleep(tc.after) // fake clock
				if _, ok := r.Cached(t.Context(), wallet); ok != (tc.asked == 1) {
					t.Errorf("cached: %v", ok)
				}
				if got := r.Resolve(t.Context(), wallet); got.Tier != governance.Builder || source.asked.Load() != tc.asked {
					t.Errorf("%v after %d questions, want %d", got, source.asked.Load(), tc.asked)
				}
			})
		})
	}
}

// TestFailuresAreRemembered leaves a source without an answer alone for half a minute, while a change of
// the allowlist counts at once, both ways.
func TestFailuresAreRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, listed := away(), false
		r := governance.NewResolver(governance.ResolverConfig{Stakes: source, Allowlisted: func(string) bool { return listed }})
		expect := func(tier governance.Tier, asked int32) {
			t.Helper()
			if got := r.Resolve(t.Context(), wallet); got.Tier != tier || source.asked.Load() != asked {
				t.Errorf("%v after %d questions, want %v after %d", got.Tier, source.asked.Load(), tier, asked)
			}
		}
		expect(governance.Observer, 1)
		expect(governance.Observer, 1)
		listed = true
		expect(governance.Architect, 1)
		listed = false
		expect(governance.Observer, 1)
		time.Sleep(30*time.Second - time.Nanosecond) // fake clock
		expect(governance.Observer, 1)
		time.Sleep(time.Nanosecond) // fake clock
		expect(governance.Observer, 2)

		source.answer = func(context.Context, string) (float64, error) { return 10_000, nil }
		expect(governance.Observer, 2)
		time.Sleep(30 * time.Second) // fake clock
		expect(governance.Sovereign, 3)
	})
}

// TestTheAllowlistsTierEndsWithTheListing: it is cached like a stake's, but not longer than it holds.
func TestTheAllowlistsTierEndsWithTheListing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, listed := away(), true
		r := governance.NewResolver(governance.ResolverConfig{Stakes: source, Allowlisted: func(string) bool { return listed }})
		r.Resolve(t.Context(), wallet)
		time.Sleep(time.Minute) // fake clock
		if got := r.Resolve(t.Context(), wallet); got.Tier != governance.Architect || source.asked.Load() != 1 {
			t.Errorf("%v after %d questions, want the cached architect", got, source.asked.Load())
		}
		listed = false
		if got, ok := r.Cached(t.Context(), wallet); ok {
			t.Errorf("off the list and still cached: %v", got)
		}
		if got := r.Resolve(t.Context(), wallet); got.Tier != governance.Observer || source.asked.Load() != 2 {
			t.Errorf("%v after %d questions, want an observer", got, source.asked.Load())
		}
	})
}

// TestFailuresAreBounded sees the oldest failure forgotten when too many wallets have one.
func TestFailuresAreBounded(t *testing.T) {
	t.Parallel()
	source := away()
	r := governance.NewResolver(governance.ResolverConfig{Stakes: source})
	const bound = 10_000
	for i := range bound + 1 {
		r.Resolve(t.Context(), strconv.Itoa(i))
	}
	for _, tc := range []struct {
		wallet string
		asked  int32
	}{{strconv.Itoa(bound / 2), bound + 1}, {"0", bound + 2}} {
		r.Resolve(t.Context(), tc.wallet)
		if n := source.asked.Load(); n != tc.asked {
			t.Errorf("%d questions after wallet %s, want %d", n, tc.wallet, tc.asked)
		}
	}
}

func TestOneQuestionForManyCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		source := &stakes{answer: func(ctx context.Context, _ string) (float64, error) {
			select {
			case <-wait:
				return 10_000, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}}
		r := governance.NewResolver(governance.ResolverConfig{Stakes: source})
		first, goAway := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if got := r.Resolve(first, wallet); got.Source != governance.FromDefault {
				t.Errorf("the one who went away: %v", got)
			}
		})
		synctest.Wait()
		for range 20 {
			wg.Go(func() {
				if got := r.Resolve(t.Context(), wallet); got.Tier != governance.Sovereign {
					t.Errorf("one who waited: %v", got)
				}
			})
		}
		synctest.Wait()
		goAway()
		synctest.Wait()
		close(wait)
		wg.Wait()
		if n := source.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// TestManyWalletsAtOnce is for the race detector: each wallet has its own answer, whoever asks.
func TestManyWalletsAtOnce(t *testing.T) {
	t.Parallel()
	source := &stakes{answer: func(_ context.Context, wallet string) (float64, error) {
		if wallet == "w-0" {
			return 0, errors.New("not available")
		}
		return strconv.ParseFloat(strings.TrimPrefix(wallet, "w-"), 64)
	}}
	r := governance.NewResolver(governance.ResolverConfig{Stakes: source, Cache: governance.NewMemoryTierCache(3), Allowlisted: everybody})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				want := []governance.Resolution{
					{Tier: governance.Architect, Source: governance.FromAllowlist},
					{Tier: governance.Participant, Source: governance.FromStake},
					{Tier: governance.Builder, Source: governance.FromStake},
					{Tier: governance.Sovereign, Source: governance.FromStake},
				}[i%4]
				if got := r.Resolve(t.Context(), "w-"+[]string{"0", "1", "100", "10000"}[i%4]); got != want {
					t.Errorf("%v, want %v", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestASourceThatHangsIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &stakes{answer: func(ctx context.Context, _ string) (float64, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}}
		r := governance.NewResolver(governance.ResolverConfig{Stakes: source, Allowlisted: everybody})
		began := time.Now()
		if got := r.Resolve(t.Context(), wallet); got.Tier != governance.Architect || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v, want an architect after five seconds", got, time.Since(began))
		}
	})
}

// TestAPanicIsRememberedAsAFailure asks a source that panics no more often than one that fails.
func TestAPanicIsRememberedAsAFailure(t *testing.T) {
	t.Parallel()
	source := &stakes{answer: func(_ context.Context, wallet string) (float64, error) { return float64(wallet[len(wallet)]), nil }}
	r := governance.NewResolver(governance.ResolverConfig{Stakes: source})
	for range 3 {
		r.Resolve(t.Context(), wallet)
	}
	if n := source.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func BenchmarkResolveCached(b *testing.B) {
	r := governance.NewResolver(governance.ResolverConfig{Stakes: always(1000)})
	b.ReportAllocs()
	for b.Loop() {
		if r.Resolve(b.Context(), wallet).Tier != governance.Architect {
			b.Fatal("not resolved")
		}
	}
}
