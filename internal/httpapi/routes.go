package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"dixie/governance"
)

// handlerFunc answers a request or says why it could not; what it returns becomes the error body.
type handlerFunc func(w http.ResponseWriter, r *http.Request) error

type methods map[string]handlerFunc

// registerRoutes lists every route there is. The pattern is what logs and traces show.
func (a *API) registerRoutes() {
	a.route("/{$}", methods{http.MethodGet: a.getServiceInfo})
	a.route("/livez", methods{http.MethodGet: a.getLive})
	a.route("/readyz", methods{http.MethodGet: a.getReady})
	a.route("/api/openapi.yaml", methods{http.MethodGet: a.getOpenAPI})

	a.route("/api/health", methods{http.MethodGet: a.getHealth})

	a.route("/api/health/governance", methods{http.MethodGet: a.requireAdmin(a.getGovernanceHealth)})

	a.route("/api/auth/nonce", methods{http.MethodGet: a.getNonce})
	a.route("/api/auth/siwe", methods{http.MethodPost: a.postSignIn})
	a.route("/api/auth/verify", methods{http.MethodGet: a.getVerify})

	a.route("/api/admin/allowlist", methods{
		http.MethodGet:  a.requireAdmin(a.getAllowlist),
		http.MethodPost: a.requireAdmin(a.postAllowlist),
	})
	a.route("/api/admin/allowlist/{entry}", methods{http.MethodDelete: a.requireAdmin(a.deleteAllowlist)})

	a.longRoute("/api/chat", methods{http.MethodPost: a.postChat})
	a.route("/api/sessions", methods{http.MethodGet: a.getSessions})
	a.route("/api/sessions/{sessionId}", methods{http.MethodGet: a.getSession})
	a.route("/api/ws/ticket", methods{http.MethodPost: a.postTicket})
	a.longRoute("/ws/chat/{sessionId}", methods{http.MethodGet: a.getSocket})

	a.route("/api/governance/admission", methods{http.MethodPost: a.postAdmission})
	a.route("/api/fleet/spawn", methods{http.MethodPost: a.postSpawn})
	a.route("/api/fleet/status", methods{http.MethodGet: a.getFleetStatus})
	a.route("/api/fleet/tasks/{taskId}", methods{
		http.MethodGet:    a.onTask(a.getTask),
		http.MethodDelete: a.onTask(a.deleteTask),
	})
	a.route("/api/fleet/tasks/{taskId}/stop", methods{http.MethodPost: a.onTask(a.postStop)})
	a.route("/api/fleet/tasks/{taskId}/logs", methods{http.MethodGet: a.onTask(a.getTaskLogs)})

	a.route("/api/reputation/query", methods{http.MethodGet: a.queryReputation})
	a.route("/api/reputation/population", methods{http.MethodGet: a.requireAdmin(a.getReputationPopulation)})
	a.route("/api/reputation/{nftId}", methods{http.MethodGet: requireTier(governance.Builder, a.getReputation)})
	a.route("/api/reputation/{nftId}/cohorts", methods{http.MethodGet: requireTier(governance.Builder, a.getReputationCohorts)})
	a.route("/api/reputation/{nftId}/events", methods{http.MethodPost: a.postReputationEvent})

	if a.cfg.MetricsPage != nil {
		a.route(metricsPath, methods{http.MethodGet: a.requireAdmin(func(w http.ResponseWriter, r *http.Request) error {
			a.cfg.MetricsPage.ServeHTTP(w, r)
			return nil
		})})
	}

	a.mux.Handle("/", a.handle(func(http.ResponseWriter, *http.Request) error { return errNotFound }))
}

// route serves a pattern with the usual time limit.
func (a *API) route(pattern string, m methods) { a.register(pattern, m, requestTimeout) }

// longRoute serves a pattern whose handler bounds its own time.
func (a *API) longRoute(pattern string, m methods) { a.register(pattern, m, 0) }

func (a *API) register(pattern string, m methods, limit time.Duration) {
	allowed := make([]string, 0, len(m)+1)
	for method := range m {
		allowed = append(allowed, method)
	}
	if _, ok := m[http.MethodGet]; ok && !isSocketPath(pattern) {
		allowed = append(allowed, http.MethodHead)
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	template := strings.TrimSuffix(pattern, "{$}")
	a.templates = append(a.templates, template)

	a.mux.Handle(pattern, a.handle(func(w http.ResponseWriter, r *http.Request) error {
		exchangeFrom(r.Context()).route = template
		method := r.Method
		if method == http.MethodHead && !isSocketPath(pattern) {
			method = http.MethodGet
		}
		h, ok := m[method]
		if !ok {
			w.Header().Set("Allow", allow)
			return &apiError{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "Method not allowed"}
		}
		if limit == 0 {
			return h(w, r)
		}
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		return h(w, r.WithContext(ctx))
	}))
}

// handle turns the returned error into the error body.
func (a *API) handle(h handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.writeError(w, r, err)
		}
	})
}
