package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"
)

const (
	// longestRequest is above what a turn may take.
	longestRequest = 150 * time.Second
	// longestRestart bounds the command that restarts the service, whose drain takes its time.
	longestRestart = 2 * time.Minute
	longestLogs    = 10 * time.Second
)

// Service is a running dixie as its users see it. Make one with [NewService]. It is safe for concurrent use.
type Service struct {
	config ServiceConfig
	client *http.Client
	made   made
}

// ServiceConfig says where a service is and what the suite may do to it.
type ServiceConfig struct {
	// URL is its base URL. Required.
	URL string
	// AdminKey opens the admin routes. Required.
	AdminKey string
	// Origin is the site that sign-ins name. Empty is URL.
	Origin string
	// Restart restarts dixie, and may return before it is ready again. Nil makes what needs it fail.
	Restart func(ctx context.Context) error
	// Alive has an error when dixie's process has ended, so that nobody waits for it. Nil: nobody knows.
	Alive func() error
	// Logs returns the end of dixie's log. Nil is none.
	Logs func(ctx context.Context) string
}

// NewService checks the configuration and reports everything that is wrong with it.
func NewService(c ServiceConfig) (*Service, error) {
	c.URL = strings.TrimSuffix(c.URL, "/")
	if c.Origin == "" {
		c.Origin = c.URL
	}
	var problems []error
	for name, value := range map[string]string{"URL": c.URL, "origin": c.Origin} {
		if u, err := url.Parse(value); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" {
			problems = append(problems, fmt.Errorf("e2e: the %s is not scheme://host[:port]", name))
		}
	}
	if c.AdminKey == "" {
		problems = append(problems, errors.New("e2e: the admin key is missing"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	// Each request has a connection of its own: none is left from before a restart.
	client := &http.Client{Timeout: longestRequest, Transport: &http.Transport{DisableKeepAlives: true}}
	return &Service{config: c, client: client, made: made{ended: make(chan struct{})}}, nil
}

// FromEnvironment is the service that the DIXIE_E2E_ variables name; nil without DIXIE_E2E_URL.
func FromEnvironment(getenv func(string) string) (*Service, error) {
	c := ServiceConfig{URL: getenv("DIXIE_E2E_URL"), AdminKey: getenv("DIXIE_E2E_ADMIN_KEY"), Origin: getenv("DIXIE_E2E_ORIGIN")}
	if c.URL == "" {
		return nil, nil //nolint:nilnil // None is named, which is no error.
	}
	if command := getenv("DIXIE_E2E_RESTART"); command != "" {
		c.Restart = func(ctx context.Context) error {
			if out, err := shell(ctx, longestRestart, command); err != nil {
				return fmt.Errorf("DIXIE_E2E_RESTART: %w\n%s", err, out)
			}
			return nil
		}
	}
	if command := getenv("DIXIE_E2E_LOGS"); command != "" {
		c.Logs = func(ctx context.Context) string {
			out, err := shell(ctx, longestLogs, command)
			if err != nil {
				out += "\nDIXIE_E2E_LOGS: " + err.Error()
			}
			return out
		}
	}
	return NewService(c)
}

func shell(ctx context.Context, limit time.Duration, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command) //nolint:gosec // The operator's own command.
	cmd.WaitDelay = time.Second                          // What it has started may keep its output open.
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("run the command: %w", err)
	}
	return string(out), nil
}

// URL is the base URL.
func (s *Service) URL() string { return s.config.URL }
