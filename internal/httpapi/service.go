package httpapi

import (
	"net/http"
	"slices"
)

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
	required := slices.DeleteFunc(slices.Clone(a.cfg.Dependencies), func(d Dependency) bool { return !d.Required })
	for i, answer := range a.askDependencies(r.Context(), required) {
		if answer.err != nil {
			return unavailable("Not ready: " + required[i].Name + " does not answer").because(answer.err)
		}
	}
	return a.writeJSON(w, http.StatusOK, probe{"ready"})
}

func (a *API) getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header()["Content-Type"] = []string{"application/yaml; charset=utf-8"}
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(a.cfg.OpenAPI)
	return err
}
