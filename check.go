package dixie

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"dixie/finn"
	"dixie/fleet"
	fleetmemory "dixie/fleet/memory"
	"dixie/internal/auth"
	"dixie/internal/wallet"
)

// check makes and drops what validates its own configuration and starts nothing.
func (s *settings) check() []error {
	problems := s.nilPointers()
	report := func(option string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", option, err))
		}
	}
	if len(s.auth.TokenSecret) > 0 {
		_, err := auth.NewHS256(s.auth.TokenSecret)
		report("WithAuth", err)
	}
	report("WithAuth", auth.CheckAdminKey(s.auth.AdminKey))
	if s.ownAllowlist != nil {
		if _, _, err := auth.ReadAllowlistFile(s.ownListPath); !errors.Is(err, fs.ErrNotExist) {
			report("WithAllowlistFile", err)
		}
	}
	report("WithFinn", checkFinn(s.finn))
	for i, admin := range s.governance.Admins {
		if _, ok := wallet.Parse(admin); !ok {
			report("WithGovernance", fmt.Errorf("entry %d of Admins is not an address", i+1))
		}
	}
	policy, err := s.policy()
	report("WithGovernance", err)
	if err == nil {
		cfg := s.fleetConfig(policy)
		if cfg.Runner == nil {
			cfg.Runner = fleet.RunnerFunc(nil) // Stands for the one that needs the client.
		}
		if cfg.Store == nil || isNil(cfg.Store) {
			cfg.Store = fleetmemory.New(fleetmemory.Config{}) // Stands for the one that is missing.
		}
		_, err := fleet.New(cfg)
		report("WithFleet", err)
	}
	if len(problems) == 0 {
		report("WithPayment", s.buildPayment())
	}
	return problems
}

// checkFinn is about all settings but a URL that is missing, which development fills in.
func checkFinn(c finn.Config) error {
	if c.URL == "" {
		c.URL = "http://localhost" // Stands for the one in the process.
	}
	client, err := finn.New(c)
	if err != nil {
		return err
	}
	return client.Close()
}

// buildPayment calls the embedder's check, which may have effects of its own, for the only time, and when nothing else is
// wrong. What it stands in front of is known later.
func (s *settings) buildPayment() error {
	if s.payment == nil {
		return nil
	}
	inside := new(struct{ http.Handler })
	checked := s.payment(inside)
	if checked == nil || isNil(checked) {
		return errors.New("the check returned no handler")
	}
	s.payment = func(next http.Handler) http.Handler {
		inside.Handler = next
		return checked
	}
	return nil
}
