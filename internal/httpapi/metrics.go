package httpapi

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"dixie/internal/instruments"
)

// measure records how long each request takes and how many are under way, by the template of the route.
func (a *API) measure(next http.Handler) http.Handler {
	if a.cfg.Metrics == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		x := exchangeFrom(ctx)
		template := strings.TrimSuffix(a.routeOf(x, r), "{$}")
		measured := a.cfg.Metrics.Begin(ctx, template, r.Method)
		aborted := true
		defer func() { measured.End(ctx, statusOf(w, aborted), time.Since(x.start)) }()
		next.ServeHTTP(w, r)
		aborted = false
	})
}

// statusOf is the status of the answer, or 0 when the request was cut off within it.
func statusOf(w http.ResponseWriter, aborted bool) int {
	if aborted {
		return 0
	}
	if rw, ok := w.(*response); ok && rw.status != 0 {
		return rw.status
	}
	return http.StatusOK
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

// dependencyAnswers are who answered when last asked.
type dependencyAnswers struct {
	mu    sync.Mutex
	asked time.Time       // GUARDED_BY(mu)
	up    map[string]bool // GUARDED_BY(mu); never changed once it is here
}

// DependenciesUp tells of each dependency whether it answers, as of ten seconds ago at most. It takes two seconds at
// most. The caller does not change the map.
func (a *API) DependenciesUp(ctx context.Context) map[string]bool {
	a.answers.mu.Lock()
	defer a.answers.mu.Unlock()
	if a.answers.up != nil && time.Since(a.answers.asked) < answersFor {
		return a.answers.up
	}
	results := make([]error, len(a.cfg.Dependencies))
	var wg sync.WaitGroup
	for i, d := range a.cfg.Dependencies {
		wg.Go(func() { results[i] = checkDependency(ctx, d) })
	}
	wg.Wait()
	up := make(map[string]bool, len(results))
	for i, d := range a.cfg.Dependencies {
		up[d.Name] = results[i] == nil
	}
	a.answers.asked, a.answers.up = time.Now(), up
	return up
}
