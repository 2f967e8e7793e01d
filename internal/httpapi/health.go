package httpapi

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"dixie/spansanitizer"
)

type serviceHealth struct {
	Status       string `json:"status"`
	LatencyMS    *int64 `json:"latency_ms,omitempty"`
	Error        string `json:"error,omitempty"`
	CircuitState string `json:"circuit_state,omitempty"`
}

const (
	statusHealthy     = "healthy"
	statusDegraded    = "degraded"
	statusUnhealthy   = "unhealthy"
	statusUnreachable = "unreachable"
)

type healthReport struct {
	Status        string `json:"status"`
	Version       string `json:"version"`
	UptimeSeconds int64  `json:"uptime_seconds"`
	Services      struct {
		Dixie   serviceHealth `json:"dixie"`
		LoaFinn serviceHealth `json:"loa_finn"`
	} `json:"services"`
	Infrastructure map[string]serviceHealth `json:"infrastructure,omitempty"`
	Reputation     struct {
		Initialized    bool `json:"initialized"`
		AggregateCount int  `json:"aggregate_count"`
	} `json:"reputation_service"`
	Governance struct {
		GovernorCount int      `json:"governor_count"`
		ResourceTypes []string `json:"resource_types"`
		Health        string   `json:"health"`
	} `json:"governance"`
	Timestamp timestamp `json:"timestamp"`
}

// getHealth is always 200 while the process serves; the verdict is in the body: unhealthy when Finn
// does not answer, degraded when another dependency does not.
func (a *API) getHealth(w http.ResponseWriter, r *http.Request) error {
	report := healthReport{
		Status: statusHealthy, Version: a.cfg.Version,
		UptimeSeconds: int64(time.Since(a.started) / time.Second), Timestamp: timestamp(time.Now()),
	}
	report.Services.Dixie.Status = statusHealthy
	ctx := r.Context()
	var asking sync.WaitGroup
	asking.Go(func() { report.Infrastructure = a.reportDependencies(ctx) })
	asking.Go(func() { a.reportGovernors(ctx, &report) })
	finn := a.cfg.Finn.Health(ctx)
	asking.Wait()
	for _, d := range report.Infrastructure {
		if d.Status != statusHealthy {
			report.Status = statusDegraded
		}
	}
	latency := finn.Latency.Milliseconds()
	report.Services.LoaFinn = serviceHealth{
		Status: statusHealthy, LatencyMS: &latency,
		CircuitState: strings.ReplaceAll(a.cfg.Finn.CircuitState().String(), "-", "_"),
	}
	if !finn.Healthy {
		report.Services.LoaFinn.Status = statusUnreachable
		report.Services.LoaFinn.Error = "no good answer to the health probe"
		report.Status = statusUnhealthy
	}
	return a.writeJSON(w, http.StatusOK, report)
}

// reportGovernors sums the governed resources up.
func (a *API) reportGovernors(ctx context.Context, report *healthReport) {
	report.Governance.Health = statusHealthy
	for _, g := range a.askGovernors(ctx) {
		report.Governance.GovernorCount++
		report.Governance.ResourceTypes = append(report.Governance.ResourceTypes, g.ResourceType)
		if g.Health == nil || g.Health.Status != statusHealthy {
			report.Governance.Health = statusDegraded
		}
		if g.ResourceType == reputationGovernor && g.Health != nil {
			report.Reputation.Initialized, report.Reputation.AggregateCount = true, g.Health.TotalItems
		}
	}
}

// noteAnswer tells once that something does not answer, and once that it answers again. Nothing is known of what was
// asked for a client that has left.
func (a *API) noteAnswer(ctx context.Context, name string, err error) {
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		if _, was := a.silent.LoadAndDelete(name); was {
			a.cfg.Logger.InfoContext(ctx, "answers again", "dependency", name)
		}
		return
	}
	if _, was := a.silent.LoadOrStore(name, true); !was {
		a.cfg.Logger.WarnContext(ctx, "does not answer", "dependency", name, "error", spansanitizer.TextOf(err))
	}
}

// reportDependencies is what each of them says, by its name.
func (a *API) reportDependencies(ctx context.Context) map[string]serviceHealth {
	report := make(map[string]serviceHealth, len(a.cfg.Dependencies))
	for i, answer := range a.askDependencies(ctx, a.cfg.Dependencies) {
		name, latency := a.cfg.Dependencies[i].Name, answer.latency.Milliseconds()
		health := serviceHealth{Status: statusHealthy, LatencyMS: &latency}
		if answer.err != nil {
			health.Status, health.Error = statusUnreachable, "does not answer"
		}
		a.noteAnswer(ctx, name, answer.err)
		report[name] = health
	}
	return report
}
