package fleet

import (
	"math/rand/v2"
	"time"
)

const (
	firstRetryDelay   = 30 * time.Second
	longestRetryDelay = 120 * time.Second
	retryJitter       = time.Second
	maxRetryAfter     = time.Hour
)

// RetryDelay is how long a task waits for its next attempt: 30 s, doubled for each retry that was spent
// before, plus the jitter, 120 s at most.
func RetryDelay(retries int, jitter time.Duration) time.Duration {
	delay := firstRetryDelay
	for range retries {
		if delay >= longestRetryDelay {
			break
		}
		delay *= 2
	}
	return min(delay+jitter, longestRetryDelay)
}

// randomRetryDelay spreads retries by 0 to 999 ms, so that tasks that failed together do not come back
// together.
func randomRetryDelay(retries int) time.Duration {
	jitter := rand.N(retryJitter).Truncate(time.Millisecond) //nolint:gosec // Jitter is no secret.
	return RetryDelay(retries, jitter)
}
