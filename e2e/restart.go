package e2e

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Restart restarts dixie. It fails when nobody said how.
func (s *Service) Restart(ctx context.Context) error {
	if s.config.Restart == nil {
		return errors.New("e2e: set DIXIE_E2E_RESTART to a command that restarts dixie")
	}
	return s.config.Restart(ctx)
}

// alive has an error when dixie's process is known to have ended.
func (s *Service) alive() error {
	if s.config.Alive == nil {
		return nil
	}
	return s.config.Alive()
}

// ProcessStart is when dixie's process began, in seconds since 1970, as its metrics have it: after a restart it is
// another one, however young the process was.
func (s *Service) ProcessStart(t testing.TB) (float64, Answer) {
	t.Helper()
	const metric = "process_start_time_seconds"
	a := s.Want(t, http.StatusOK, Request{Method: http.MethodGet, Path: "/metrics", Token: s.config.AdminKey})
	for line := range strings.Lines(string(a.Body)) {
		value, found := strings.CutPrefix(strings.TrimSpace(line), metric+" ")
		if !found {
			continue
		}
		began, err := strconv.ParseFloat(value, 64)
		if err != nil {
			a.Fatalf(t, "%s is %q", metric, value)
		}
		return began, a
	}
	a.Fatalf(t, "the metrics have no %s", metric)
	return 0, a
}
