package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// dependencyTimeout bounds one check of a dependency, so that a health report is never slower.
const dependencyTimeout = 2 * time.Second

func (a *API) getServiceInfo(w http.ResponseWriter, _ *http.Request) error {
	return a.writeJSON(w, http.StatusOK, struct {
		Service string `json:"service"`
		Status  string `json:"status"`
		Version string `json:"version"`
	}{ServiceName, "running", a.cfg.Version})
}

type probe struct {
	Status string `json:"status"`
}

func (a *API) getLive(w http.ResponseWriter, _ *http.Request) error {
	return a.writeJSON(w, http.StatusOK, probe{"ok"})
}

// getReady is 200 while requests can be served: no required dependency is away and draining has not
// begun. (A request that arrives later is refused before it gets here.)
func (a *API) getReady(w http.ResponseWriter, r *http.Request) error {
	for _, d := range a.cfg.Dependencies {
		if !d.Required {
			continue
		}
		if err := checkDependency(r.Context(), d); err != nil {
			return unavailable("Not ready: " + d.Name + " does not answer").because(err)
		}
	}
	return a.writeJSON(w, http.StatusOK, probe{"ready"})
}

// checkDependency asks a dependency, for a limited time.
func checkDependency(ctx context.Context, d Dependency) error {
	ctx, cancel := context.WithTimeout(ctx, dependencyTimeout)
	defer cancel()
	return contain(d.Name, func() error { return d.Check(ctx) })
}

// contain calls somebody else's code, on goroutines of our own too, where a panic would end the process, so
// it becomes an error.
func contain(name string, ask func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w of %s: %T", errPanic, name, p)
		}
	}()
	return ask()
}

func (a *API) getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header()["Content-Type"] = []string{"application/yaml; charset=utf-8"}
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(a.cfg.OpenAPI)
	return err
}
