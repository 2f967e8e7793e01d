package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// StartLimit is how long a stack may take until it is healthy (SM-2).
	StartLimit = time.Minute
	// RestartLimit is how long a restarted dixie may take until it is healthy.
	RestartLimit = 30 * time.Second

	// readinessPace is for /readyz, which nobody counts; healthPace is for the health report, where each
	// look is a request of the caller's.
	readinessPace = 100 * time.Millisecond
	healthPace    = time.Second
	longestLook   = 10 * time.Second
)

// Health is the report of GET /api/health.
type Health struct {
	Status         string                `json:"status"`
	Version        string                `json:"version"`
	Services       map[string]Dependency `json:"services"`
	Infrastructure map[string]Dependency `json:"infrastructure"`
}

// Dependency is what the report says of one of them.
type Dependency struct {
	Status string `json:"status"`
	Error  string `json:"error"`
}

// WaitHealthy waits until the service reports that it and everything it uses is healthy, and returns the
// report and how long that took. The token is whose requests the looks are; it may be empty. It fails at
// the limit, when ctx ends and when dixie's process has ended, with the last exchange and the end of dixie's log.
func (s *Service) WaitHealthy(ctx context.Context, token string, limit time.Duration) (Health, time.Duration, error) {
	started := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the limit is %s", limit))
	defer cancel()
	failed := func(why error, last string) error {
		return fmt.Errorf("e2e: not healthy after %s: %w\n\n%s%s", time.Since(started).Round(time.Millisecond), why, last,
			s.mask(s.lastLines(context.WithoutCancel(ctx)), token))
	}
	last := "no look was taken"
	for {
		health, answer, pace, err := s.look(ctx, token)
		switch {
		case err == nil && health.Status == "healthy":
			return health, time.Since(started), nil
		case err == nil:
			last = answer.String()
		case ctx.Err() == nil: // Else the limit cut the look off, and the one before tells more.
			last = err.Error() + "\n\n" + answer.String()
		}
		if dead := s.alive(); dead != nil {
			return Health{}, 0, failed(dead, last)
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
			return Health{}, 0, failed(context.Cause(ctx), last)
		}
	}
}

// look asks for readiness, and for health once the service is ready. It says when to look again.
func (s *Service) look(ctx context.Context, token string) (Health, Answer, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, longestLook)
	defer cancel()
	answer, err := s.exchange(ctx, Request{Method: http.MethodGet, Path: "/readyz"})
	if err != nil || answer.Status != http.StatusOK {
		return Health{}, answer, readinessPace, err
	}
	answer, err = s.exchange(ctx, Request{Method: http.MethodGet, Path: "/api/health", Token: token})
	if err != nil || answer.Status != http.StatusOK {
		return Health{}, answer, max(healthPace, answer.retryAfter()), err
	}
	var health Health
	if err := json.Unmarshal(answer.Body, &health); err != nil {
		return Health{}, answer, healthPace, fmt.Errorf("e2e: the health report is not one: %w", err)
	}
	return health, answer, healthPace, nil
}
