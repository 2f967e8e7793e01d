package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"dixie/fleet"
	"dixie/reputation"
)

// The governed resources, as the health reports name them.
const (
	fleetGovernor      = "fleet-governor"
	reputationGovernor = "reputation"
)

type governorHealth struct {
	Status     string `json:"status"`
	TotalItems int    `json:"totalItems"`
	StaleItems int    `json:"staleItems"`
	Version    int    `json:"version"`
}

type invariant struct {
	ID        string    `json:"invariant_id"`
	Satisfied bool      `json:"satisfied"`
	Detail    string    `json:"detail"`
	CheckedAt timestamp `json:"checked_at"`
}

type governor struct {
	ResourceType string `json:"resourceType"`
	// Health is null when the resource could not be asked.
	Health     *governorHealth `json:"health"`
	Invariants []invariant     `json:"invariants"`
}

// IsReserved tells whether reports have something of this name, so that no dependency may.
func IsReserved(name string) bool {
	return name == finnDependency || name == fleetGovernor || name == reputationGovernor
}

// getGovernanceHealth shows what is governed and whether its rules hold now.
func (a *API) getGovernanceHealth(w http.ResponseWriter, r *http.Request) error {
	governors := a.askGovernors(r.Context())
	degraded := 0
	for _, g := range governors {
		if g.Health == nil || g.Health.Status != statusHealthy {
			degraded++
		}
	}
	return a.writeJSON(w, http.StatusOK, struct {
		Governors         []governor `json:"governors"`
		TotalResources    int        `json:"totalResources"`
		DegradedResources int        `json:"degradedResources"`
		Timestamp         timestamp  `json:"timestamp"`
	}{governors, len(governors), degraded, timestamp(time.Now())})
}

// askGovernors asks all of them; one whose store does not answer within the limit for dependencies is
// listed without a health.
func (a *API) askGovernors(ctx context.Context) []governor {
	limited, cancel := context.WithTimeout(ctx, dependencyTimeout)
	defer cancel()
	governors := make([]governor, 2) //nolint:mnd // Those below.
	problems := make([]error, len(governors))
	var asking sync.WaitGroup
	asking.Go(func() { governors[0], problems[0] = a.askFleet(limited) })
	asking.Go(func() { governors[1], problems[1] = a.askReputation(limited) })
	asking.Wait()
	for i, g := range governors {
		a.noteAnswer(ctx, g.ResourceType, problems[i])
	}
	return governors
}

func (a *API) askFleet(ctx context.Context) (governor, error) {
	var h fleet.Health
	err := contain(fleetGovernor, func() (err error) {
		h, err = a.cfg.Fleet.Health(ctx)
		return err
	})
	if err != nil {
		return silentGovernor(fleetGovernor), err
	}
	return answeringGovernor(fleetGovernor, h.Total, invariant{
		ID: "INV-014", Satisfied: h.OverLimit == 0,
		Detail: fmt.Sprintf("%d operators have more active tasks than their tier allows", h.OverLimit),
	}), nil
}

func (a *API) askReputation(ctx context.Context) (governor, error) {
	var p reputation.Population
	err := contain(reputationGovernor, func() (err error) {
		p, err = a.cfg.Reputation.Population(ctx)
		return err
	})
	if err != nil {
		return silentGovernor(reputationGovernor), err
	}
	return answeringGovernor(reputationGovernor, p.StoreCount, invariant{
		ID: "REP-001", Satisfied: p.Size <= p.StoreCount,
		Detail: fmt.Sprintf("%d of %d agents have a score and count once in the population", p.Size, p.StoreCount),
	}), nil
}

func answeringGovernor(resource string, total int, rule invariant) governor {
	rule.CheckedAt = timestamp(time.Now())
	health := &governorHealth{Status: statusHealthy, TotalItems: total}
	if !rule.Satisfied {
		health.Status = statusDegraded
	}
	return governor{ResourceType: resource, Health: health, Invariants: []invariant{rule}}
}

func silentGovernor(resource string) governor {
	return governor{ResourceType: resource, Invariants: []invariant{}}
}
