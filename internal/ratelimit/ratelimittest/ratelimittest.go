// Package ratelimittest holds every [ratelimit.Limiter] to its description. It is for tests only.
package ratelimittest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dixie/internal/ratelimit"
)

// Subject is a limiter under test that has counted nothing.
type Subject struct {
	// One and Other share their counts, as the limiters of two replicas do.
	One, Other ratelimit.Limiter
	// Advance lets time pass for both; [Run] does not need it.
	Advance func(time.Duration)
}

// Run runs the cases that need no time, which may not take longer than the rest of a minute. For each case
// arrange makes a limiter and calls test with it.
func Run(t *testing.T, arrange func(t *testing.T, test func(*testing.T, Subject))) {
	t.Helper()
	run(t, arrange, map[string]func(*testing.T, Subject){
		"RequestsAreCounted":    requestsAreCounted,
		"ZeroIsNoLimit":         zeroIsNoLimit,
		"ReplicasShareTheLimit": replicasShareTheLimit,
		"IdentitiesAreApart":    identitiesAreApart,
		"RefusedOnesDoNotCount": refusedOnesDoNotCount,
		"TheLimitMayChange":     theLimitMayChange,
	})
}

// RunMinutes runs the cases in which minutes pass, like [Run].
func RunMinutes(t *testing.T, arrange func(t *testing.T, test func(*testing.T, Subject))) {
	t.Helper()
	run(t, arrange, map[string]func(*testing.T, Subject){
		"WaitingAsToldHelps":    waitingAsToldHelps,
		"OldCountsAreForgotten": oldCountsAreForgotten,
	})
}

func run(t *testing.T, arrange func(*testing.T, func(*testing.T, Subject)), cases map[string]func(*testing.T, Subject)) {
	t.Helper()
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrange(t, test)
		})
	}
}

func allow(t *testing.T, l ratelimit.Limiter, identity string, limit int) ratelimit.Decision {
	t.Helper()
	d, err := l.Allow(t.Context(), identity, limit)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case limit > 0 && d.Limit != limit, d.Remaining < 0, d.Reset < 0, limit > 0 && d.Reset > ratelimit.Window+time.Second:
		t.Errorf("untrue: %+v", d)
	case d.Allowed && d.RetryAfter != 0, !d.Allowed && (d.RetryAfter < time.Second || d.Remaining != 0):
		t.Errorf("untrue: %+v", d)
	}
	return d
}

func requestsAreCounted(t *testing.T, s Subject) {
	t.Helper()
	limiters := []ratelimit.Limiter{s.One, s.Other}
	for i := range 3 {
		if d := allow(t, limiters[i%2], "a", 3); !d.Allowed || d.Remaining != 2-i {
			t.Fatalf("request %d: %+v", i, d)
		}
	}
	if d := allow(t, s.Other, "a", 3); d.Allowed || d.RetryAfter > ratelimit.Window+time.Second {
		t.Errorf("over the limit: %+v", d)
	}
}

func zeroIsNoLimit(t *testing.T, s Subject) {
	t.Helper()
	for range 100 {
		for _, limit := range []int{0, -1} {
			if !allow(t, s.One, "a", limit).Allowed {
				t.Fatal("refused")
			}
		}
	}
	if d := allow(t, s.One, "a", 1); !d.Allowed {
		t.Error("requests without a limit were counted")
	}
}

func replicasShareTheLimit(t *testing.T, s Subject) {
	t.Helper()
	const limit = 50
	var admitted atomic.Int32
	var wg sync.WaitGroup
	for _, limiter := range []ratelimit.Limiter{s.One, s.Other} {
		for range 2 * limit {
			wg.Go(func() {
				d, err := limiter.Allow(t.Context(), "a", limit)
				if err != nil {
					t.Error(err)
				}
				if d.Allowed {
					admitted.Add(1)
				}
			})
		}
	}
	wg.Wait()
	if admitted.Load() != limit {
		t.Errorf("%d of %d were admitted, want %d", admitted.Load(), 4*limit, limit)
	}
}

func identitiesAreApart(t *testing.T, s Subject) {
	t.Helper()
	allow(t, s.One, "a", 1)
	for _, identity := range []string{"", "b", "A", "a:0", "wallet:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "[::1]:80"} {
		if !allow(t, s.One, identity, 1).Allowed || allow(t, s.One, identity, 1).Allowed {
			t.Errorf("%q is not counted on its own", identity)
		}
	}
}

func waitingAsToldHelps(t *testing.T, s Subject) {
	t.Helper()
	for range 3 {
		allow(t, s.One, "a", 3)
	}
	s.Advance(10 * time.Second)
	d := allow(t, s.One, "a", 3)
	if d.Allowed {
		t.Fatalf("ten seconds later: %+v", d)
	}
	s.Advance(d.RetryAfter)
	if d := allow(t, s.One, "a", 3); !d.Allowed {
		t.Errorf("after waiting as told: %+v", d)
	}
}

func refusedOnesDoNotCount(t *testing.T, s Subject) {
	t.Helper()
	allow(t, s.One, "a", 1)
	for range 20 {
		if allow(t, s.One, "a", 1).Allowed {
			t.Fatal("over the limit")
		}
	}
	// With one more allowed, exactly one more gets through.
	if d := allow(t, s.One, "a", 2); !d.Allowed || d.Remaining != 0 {
		t.Errorf("refused requests were counted: %+v", d)
	}
}

func theLimitMayChange(t *testing.T, s Subject) {
	t.Helper()
	for range 5 {
		allow(t, s.One, "a", 10)
	}
	if d := allow(t, s.One, "a", 3); d.Allowed {
		t.Errorf("after five of three: %+v", d)
	}
	if d := allow(t, s.One, "a", 10); !d.Allowed || d.Remaining != 4 {
		t.Errorf("the sixth of ten: %+v", d)
	}
}

func oldCountsAreForgotten(t *testing.T, s Subject) {
	t.Helper()
	allow(t, s.One, "a", 3)
	s.Advance(time.Hour)
	if d := allow(t, s.Other, "a", 3); !d.Allowed || d.Remaining != 2 {
		t.Errorf("an hour later: %+v", d)
	}
}
