package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"dixie/internal/instruments"
)

// metricsPath is where the admin reads what is measured.
const metricsPath = "/metrics"

// measure records how long each request takes and how many are under way, by the template of the route.
func (a *API) measure(next http.Handler) http.Handler {
	if a.cfg.Metrics == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		x := exchangeFrom(ctx)
		measured := a.cfg.Metrics.Begin(ctx, a.routeOf(x, r), r.Method)
		aborted := true
		defer func() { measured.End(ctx, outcomeOf(w, x, aborted), time.Since(x.start)) }()
		next.ServeHTTP(w, r)
		aborted = false
	})
}

// outcomeOf is the status that tells what became of a request: that of the failure for a stream that failed when its
// header was out, and 0 for an answer that was cut off.
func outcomeOf(w http.ResponseWriter, x *exchange, aborted bool) int {
	if aborted {
		return 0
	}
	status := statusOf(w)
	if failure := failureOf(x, status); failure != nil {
		return failure.Status
	}
	return status
}

// signInOutcome is the word for the metrics of how a sign-in that failed did so.
func signInOutcome(err error) string {
	if e := toAPIError(err); e.Status >= http.StatusInternalServerError {
		return instruments.SignInUnavailable
	}
	return instruments.SignInRefused
}

// answersFor is how long the answer of a dependency is used again, so that collecting metrics often asks them no
// more often.
const answersFor = 10 * time.Second

// finnDependency is Finn's name among the dependencies, as in the health report.
const finnDependency = "loa_finn"

// dependencyAnswers are who answered when last asked.
type dependencyAnswers struct {
	mu    sync.Mutex
	asked time.Time       // GUARDED_BY(mu)
	up    map[string]bool // GUARDED_BY(mu); never changed once it is here
}

// DependenciesUp tells of each dependency, and of Finn, whether it answers, as of ten seconds ago at most. Of Finn, what
// is not known within two seconds is no answer. The caller does not change the map.
func (a *API) DependenciesUp(ctx context.Context) map[string]bool {
	a.answers.mu.Lock()
	defer a.answers.mu.Unlock()
	if a.answers.up != nil && time.Since(a.answers.asked) < answersFor {
		return a.answers.up
	}
	finnUp := false
	var wg sync.WaitGroup
	wg.Go(func() {
		asking, cancel := context.WithTimeout(ctx, dependencyTimeout)
		defer cancel()
		finnUp = a.cfg.Finn.Health(asking).Healthy
	})
	answers := a.askDependencies(ctx, a.cfg.Dependencies)
	wg.Wait()
	up := make(map[string]bool, len(answers)+1)
	up[finnDependency] = finnUp
	for i, answer := range answers {
		up[a.cfg.Dependencies[i].Name] = answer.err == nil
	}
	// Who was cut off knows nothing.
	if ctx.Err() == nil {
		a.answers.asked, a.answers.up = time.Now(), up
	}
	return up
}
