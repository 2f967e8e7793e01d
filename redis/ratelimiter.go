package redis

import (
	"context"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"dixie/internal/ratelimit"
)

// RateLimiter counts the requests of an identity in each minute of the server's clock, under the key
// ratelimit:{identity}:{unix minute}. It is safe for concurrent use, and each call is one script. A refused
// request is not counted.
//
// Minutes are fixed, where those that a process counts by itself slide: a count starts again when the minute does,
// so that on both sides of a full minute an identity may have up to twice its limit within a few seconds,
// while in the long run it has no more than with a sliding one.
type RateLimiter struct {
	client goredis.UniversalClient
	count  *goredis.Script
}

var _ ratelimit.Limiter = (*RateLimiter)(nil)

// It returns whether the request is let through, the count, and in milliseconds how long the minute and
// the key still last.
const countRequest = `
local time = redis.call('TIME')
local seconds, millis = tonumber(time[1]), math.floor(time[2] / 1000)
local key = KEYS[1] .. ':' .. string.format('%d', math.floor(seconds / 60))
local reset = 60000 - (seconds % 60) * 1000 - millis
local count = tonumber(redis.call('GET', key) or 0)
if count >= tonumber(ARGV[1]) then
  return {0, count, reset, redis.call('PTTL', key)}
end
count = redis.call('INCR', key)
if count == 1 then
  redis.call('EXPIRE', key, 60)
end
return {1, count, reset, 0}`

// NewRateLimiter counts through client, which the caller closes.
func NewRateLimiter(client goredis.UniversalClient) *RateLimiter {
	return &RateLimiter{client: client, count: goredis.NewScript(countRequest)}
}

// Allow implements dixie.RateLimiter. Reset is the rest of the minute. RetryAfter is the rest of the
// key's life, which ends up to a minute later than its count matters: 60 s after the minute's first request.
func (r *RateLimiter) Allow(ctx context.Context, identity string, limit int) (ratelimit.Decision, error) {
	if limit <= 0 {
		return ratelimit.Decision{Allowed: true}, nil
	}
	answer, err := r.count.Run(ctx, r.client, []string{"ratelimit:" + identity}, limit).Int64Slice()
	if err != nil {
		return ratelimit.Decision{}, fmt.Errorf("redis: count a request: %w", err)
	}
	if len(answer) != 4 {
		return ratelimit.Decision{}, fmt.Errorf("redis: count a request: an answer of %d numbers", len(answer))
	}
	d := ratelimit.Decision{
		Allowed:   answer[0] == 1,
		Limit:     limit,
		Remaining: max(0, limit-int(answer[1])),
		Reset:     time.Duration(answer[2]) * time.Millisecond,
	}
	if !d.Allowed {
		d.RetryAfter = max(time.Second, time.Duration(answer[3])*time.Millisecond)
	}
	return d, nil
}
