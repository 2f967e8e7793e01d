package ratelimit_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"dixie/internal/ratelimit"
	"dixie/internal/ratelimit/ratelimittest"
)

func allow(t *testing.T, m *ratelimit.Memory, identity string, limit int) ratelimit.Decision {
	t.Helper()
	d, err := m.Allow(t.Context(), identity, limit)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestMemory(t *testing.T) {
	t.Parallel()
	arrange := func(t *testing.T, test func(*testing.T, ratelimittest.Subject)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			m := ratelimit.NewMemory(0)
			advance := func(d time.Duration) {
				time.Sleep(d) // fake clock
			}
			test(t, ratelimittest.Subject{One: m, Other: m, Advance: advance})
		})
	}
	ratelimittest.Run(t, arrange)
	ratelimittest.RunMinutes(t, arrange)
}

func TestWindowSlides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := ratelimit.NewMemory(0)
		for i := range 3 {
			if d := allow(t, m, "a", 3); !d.Allowed || d.Remaining != 2-i || d.Limit != 3 {
				t.Fatalf("request %d: %+v", i, d)
			}
			time.Sleep(10 * time.Second) // fake clock
		}
		d := allow(t, m, "a", 3)
		if d.Allowed || d.RetryAfter < 29*time.Second || d.RetryAfter > 31*time.Second {
			t.Fatalf("over the limit: %+v", d)
		}
		if d := allow(t, m, "b", 3); !d.Allowed {
			t.Fatalf("another identity: %+v", d)
		}
		time.Sleep(d.RetryAfter) // fake clock
		if d := allow(t, m, "a", 3); !d.Allowed || d.Remaining != 0 {
			t.Fatalf("after waiting as told: %+v", d)
		}
		if d := allow(t, m, "a", 3); d.Allowed {
			t.Fatalf("only one slot had become free: %+v", d)
		}
		time.Sleep(time.Hour) // fake clock
		if d := allow(t, m, "a", 3); !d.Allowed || d.Remaining != 2 {
			t.Fatalf("after an hour: %+v", d)
		}
	})
}

func TestIdentitiesAreBounded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ identities, bound int }{{160, 160}, {0, 10_000}, {-1, 10_000}, {1, 16}} {
		m := ratelimit.NewMemory(tc.identities)
		for i := range 2 * tc.bound {
			allow(t, m, strconv.Itoa(i), 5)
		}
		// The shards need not fill evenly.
		if n := m.Identities(); n > tc.bound || n < tc.bound/2 {
			t.Errorf("%d identities are tracked, want %d at most", n, tc.bound)
		}
	}
}

// TestOnesOwnCountOutlastsStrangers: by calling under many identities nobody gets rid of the count of one
// that is still in use.
func TestOnesOwnCountOutlastsStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 500
		m := ratelimit.NewMemory(160)
		for i := range limit {
			if d := allow(t, m, "busy", limit); !d.Allowed || d.Remaining != limit-1-i {
				t.Fatalf("request %d: %+v", i, d)
			}
			for j := range 4 {
				allow(t, m, strconv.Itoa(4*i+j), limit)
			}
		}
		if d := allow(t, m, "busy", limit); d.Allowed {
			t.Errorf("over the limit: %+v", d)
		}
	})
}

func TestLimitsAreCapped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := ratelimit.NewMemory(0)
		const capped = 1<<16 - 1
		for i := range capped { // All in one slot, whose count must not start again.
			if d := allow(t, m, "a", 1<<30); !d.Allowed || d.Limit != capped {
				t.Fatalf("request %d: %+v", i, d)
			}
		}
		if d := allow(t, m, "a", 1<<30); d.Allowed || d.Remaining != 0 {
			t.Errorf("over the cap: %+v", d)
		}
	})
}

func BenchmarkAllow(b *testing.B) {
	m := ratelimit.NewMemory(0)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = m.Allow(b.Context(), "wallet:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", 10_000)
		}
	})
}
