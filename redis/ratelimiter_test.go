package redis_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"

	"dixie/internal/ratelimit/ratelimittest"
	"dixie/redis"
)

func rateKey(identity string, at time.Time) string {
	return "ratelimit:" + identity + ":" + strconv.FormatInt(at.Unix()/60, 10)
}

// settable is a server whose clock a test sets.
type settable struct {
	*miniredis.Miniredis

	now time.Time
}

func newSettable(t *testing.T, now time.Time) (*settable, *goredis.Client) {
	t.Helper()
	s := &settable{miniredis.RunT(t), now}
	s.SetTime(now)
	return s, open(t, "redis://"+s.Addr(), nil)
}

func (s *settable) advance(d time.Duration) {
	s.now = s.now.Add(d)
	s.SetTime(s.now)
	s.FastForward(d)
}

// TestRateLimiterMinutes runs the suite where a minute can pass.
func TestRateLimiterMinutes(t *testing.T) {
	t.Parallel()
	ratelimittest.RunMinutes(t, func(t *testing.T, test func(*testing.T, ratelimittest.Subject)) {
		t.Helper()
		s, client := newSettable(t, time.Date(2026, 2, 26, 12, 0, 30, 0, time.UTC))
		limiter := redis.NewRateLimiter(client)
		test(t, ratelimittest.Subject{One: limiter, Other: limiter, Advance: s.advance})
	})
}

// TestRateLimiterFixedMinutes shows what a fixed minute is, and what is told about it.
func TestRateLimiterFixedMinutes(t *testing.T) {
	t.Parallel()
	s, client := newSettable(t, time.Date(2026, 2, 26, 12, 0, 50, 250_000_000, time.UTC))
	limiter := redis.NewRateLimiter(client)
	for _, step := range []struct {
		after             time.Duration
		allowed           bool
		remaining         int
		reset, retryAfter time.Duration
	}{
		{0, true, 1, 9750 * time.Millisecond, 0},
		{0, true, 0, 9750 * time.Millisecond, 0},
		{5 * time.Second, false, 0, 4750 * time.Millisecond, 55 * time.Second},
		{4749 * time.Millisecond, false, 0, time.Millisecond, 50251 * time.Millisecond},
		{time.Millisecond, true, 1, time.Minute, 0},
		{0, true, 0, time.Minute, 0},
		{59500 * time.Millisecond, false, 0, 500 * time.Millisecond, time.Second},
	} {
		s.advance(step.after)
		d, err := limiter.Allow(t.Context(), "a", 2)
		if err != nil || d.Allowed != step.allowed || d.Remaining != step.remaining || d.Reset != step.reset || d.RetryAfter != step.retryAfter {
			t.Errorf("at %v: %+v, %v; want %+v", s.now, d, err, step)
		}
	}
}

// TestRefusedRequestsAreNotCounted looks at the key itself, which must not grow with the requests of
// somebody who does not stop.
func TestRefusedRequestsAreNotCounted(t *testing.T) {
	t.Parallel()
	client := server.Client(t)
	withinOneMinute(t, client)
	limiter := redis.NewRateLimiter(client)
	for range 20 {
		if _, err := limiter.Allow(t.Context(), "a", 3); err != nil {
			t.Fatal(err)
		}
	}
	if got := client.Get(t.Context(), rateKey("a", client.Time(t.Context()).Val())).Val(); got != "3" {
		t.Errorf("the count is %s after 20 requests, want the limit of 3", got)
	}
}

func TestForeignContentIsAnErrorOfTheLimiter(t *testing.T) {
	t.Parallel()
	s, client := newSettable(t, time.Date(2026, 2, 26, 12, 0, 0, 0, time.UTC))
	if err := client.LPush(t.Context(), rateKey("a", s.now), "x").Err(); err != nil {
		t.Fatal(err)
	}
	if d, err := redis.NewRateLimiter(client).Allow(t.Context(), "a", 3); err == nil {
		t.Errorf("Allow = %+v, want an error", d)
	}
}
