package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"dixie"
	"dixie/database"
	"dixie/internal/auth"
	"dixie/internal/wallet"
	"dixie/redis"
	"dixie/signals"
	"dixie/telemetry"
)

// fromLookup is an environment of these variables alone.
func fromLookup(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}
}

// scrapeEverything runs a server with all that can be measured, has a little of everything happen, and scrapes it. Of
// the databases only the clients are there: they are measured all the same.
func scrapeEverything(t *testing.T) exposition {
	t.Helper()
	secret := strings.Repeat("s", minSecret)
	c, err := readConfig(fromLookup(map[string]string{"DIXIE_ENV": "test", "DIXIE_ADMIN_KEY": "the-admin-key", "DIXIE_JWT_PRIVATE_KEY": secret}))
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	spans, err := telemetry.Start(t.Context(), telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	opts, err := options(c, &backing{}, spans, logger)
	if err != nil {
		t.Fatal(err)
	}
	b := &backing{}
	defer func() { b.close(logger) }()
	if b.pool, err = database.Open(context.WithoutCancel(t.Context()), database.Config{URL: "postgres://127.0.0.1:1/none"}); err != nil {
		t.Fatal(err)
	}
	if b.redis, err = redis.Open(redis.Config{URL: "redis://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	if b.signals, err = signals.Connect(signals.Config{URL: "nats://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	m, err := measure(t.Context(), c, b, logger, spans.Observe)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close(logger)
	h, err := dixie.New(append(opts, dixie.WithMetrics(m.MeterProvider()), dixie.WithMetricsPage(m.Handler()),
		dixie.WithDependency(dixie.Dependency{Name: "postgresql", Check: b.pool.Ping, Required: true}),
		dixie.WithDependency(dixie.Dependency{Name: "nats", Check: b.signals.Check}),
		dixie.WithDependency(dixie.Dependency{Name: "redis", Check: func(ctx context.Context) error { return b.redis.Ping(ctx).Err() }}))...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Shutdown(context.WithoutCancel(t.Context())) }()
	server := http.Handler(h)
	tokens, err := auth.NewHS256([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokens.Sign(string(wallet.TestAddress), "team")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path, key, body string, want int) string {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code != want {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return w.Body.String()
	}
	ask(http.MethodPost, "/api/chat", token, `{"prompt":"hello"}`, http.StatusOK)
	ask(http.MethodPost, "/api/reputation/agent/events", "the-admin-key", `{"type":"quality_signal","score":0.5}`, http.StatusCreated)
	ask(http.MethodGet, "/livez", "", "", http.StatusOK)
	ask(http.MethodGet, "/readyz", "", "", http.StatusServiceUnavailable)
	ask(http.MethodGet, "/api/health", "", "", http.StatusOK)
	ask(http.MethodGet, "/ws/chat/none", "", "", http.StatusUnauthorized)
	func() {
		defer func() { _ = recover() }() // As net/http does.
		server.ServeHTTP(brokenWriter{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/livez", nil))
	}()
	ask(http.MethodGet, metricsPath, "", "", http.StatusUnauthorized)
	ask(http.MethodGet, metricsPath, token, "", http.StatusForbidden)
	return parseExposition(ask(http.MethodGet, metricsPath, "the-admin-key", "", http.StatusOK))
}

// brokenWriter breaks an answer off.
type brokenWriter struct{ *httptest.ResponseRecorder }

// Write implements io.Writer.
func (brokenWriter) Write([]byte) (int, error) { panic(http.ErrAbortHandler) }

// anchors are the headings that a link can name.
func anchors(document string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(document) {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			found[strings.ReplaceAll(strings.ToLower(strings.TrimSpace(heading)), " ", "-")] = true
		}
	}
	return found
}

// TestMetricsAlertsAndDashboard holds together what the server exposes, the alert rules, the dashboard and the page
// that explains them.
func TestMetricsAlertsAndDashboard(t *testing.T) {
	t.Parallel()
	e := scrapeEverything(t)
	read := func(path string) []byte {
		content, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	page := string(read("docs/observability.md"))

	const job = "dixie"
	var prometheus struct {
		ScrapeConfigs []struct {
			JobName string `yaml:"job_name"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(read("deploy/prometheus/prometheus.yml"), &prometheus); err != nil {
		t.Fatal(err)
	}
	if jobs := prometheus.ScrapeConfigs; len(jobs) != 1 || jobs[0].JobName != job || !strings.Contains(page, "\n  - job_name: "+job+"\n") {
		t.Errorf("deploy/prometheus/prometheus.yml has the jobs %v, want only %s there and in docs/observability.md", jobs, job)
	}

	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(read("deploy/prometheus/alerts.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	headings, alerts := anchors(page), 0
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			alerts++
			for _, problem := range e.problems(rule.Expr, `job="`+job+`"`) {
				t.Errorf("%s: %s: %s", rule.Alert, problem, rule.Expr)
			}
			anchor, ok := strings.CutPrefix(rule.Annotations["runbook"], "docs/observability.md#")
			if rule.For == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || !ok || !headings[anchor] {
				t.Errorf("%s: incomplete, or its runbook %q is no heading", rule.Alert, rule.Annotations["runbook"])
			}
		}
	}
	if alerts < 10 {
		t.Errorf("%d alerts", alerts)
	}

	var board struct {
		UID        string `json:"uid"`
		Templating struct {
			List []struct {
				Name       string `json:"name"`
				Type       string `json:"type"`
				Definition string `json:"definition"`
				Query      any    `json:"query"`
			} `json:"list"`
		} `json:"templating"`
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr       string `json:"expr"`
				Datasource struct {
					UID string `json:"uid"`
				} `json:"datasource"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(read("deploy/grafana/dixie.json"), &board); err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{}
	for _, v := range board.Templating.List {
		variables[v.Name] = v.Type + " " + v.Definition
		if query, ok := v.Query.(map[string]any); ok && query["query"] != v.Definition {
			t.Errorf("variable %s: %v is shown as %s", v.Name, query["query"], v.Definition)
		}
	}
	// The jobs that have a metric which only dixie has.
	want := map[string]string{"datasource": "datasource ", "job": "query label_values(dixie_finn_circuit_state, job)"}
	if board.UID == "" || !maps.Equal(variables, want) || e.samples["dixie_finn_circuit_state"] == nil {
		t.Errorf("the dashboard has the uid %q and the variables %v, want %v", board.UID, variables, want)
	}
	filled := strings.NewReplacer("$__rate_interval", "5m", "$job", "that of the variable")
	queries := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			queries++
			for _, problem := range e.problems(filled.Replace(target.Expr), `job=~"that of the variable"`) {
				t.Errorf("%s: %s: %s", panel.Title, problem, target.Expr)
			}
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("%s: data source %q", panel.Title, target.Datasource.UID)
			}
		}
	}
	if queries < 20 {
		t.Errorf("%d queries", queries)
	}

	explained := map[string]bool{}
	for _, found := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(page, -1) {
		explained[found[1]] = true
	}
	for _, family := range slices.Sorted(maps.Keys(e.families)) {
		if runtime := strings.HasPrefix(family, "go_") || strings.HasPrefix(family, "process_"); !runtime && !explained[family] {
			t.Errorf("docs/observability.md does not explain %s", family)
		}
	}
	for _, prefix := range []string{"dixie_", "http_", "db_"} {
		for name := range explained {
			if strings.HasPrefix(name, prefix) && !e.families[name] {
				t.Errorf("docs/observability.md explains %s, which is not exposed", name)
			}
		}
	}
	for _, found := range regexp.MustCompile(`\]\(#([a-z-]+)\)`).FindAllStringSubmatch(page, -1) {
		if !headings[found[1]] {
			t.Errorf("docs/observability.md links to #%s, which is no heading", found[1])
		}
	}
}

func TestMetricsListen(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"": "", "9464": "127.0.0.1:9464", ":9464": "127.0.0.1:9464", "localhost:9464": "localhost:9464",
		"0.0.0.0:9464": "0.0.0.0:9464", "[::1]:9464": "[::1]:9464", "10.0.0.5:9464": "10.0.0.5:9464",
	} {
		c, err := readConfig(fromLookup(map[string]string{"DIXIE_METRICS_LISTEN": value}))
		if err != nil || c.metricsListen != want {
			t.Errorf("%q: %q, %v, want %q", value, c.metricsListen, err, want)
		}
	}
	for _, value := range []string{"0", "65536", "-1", "host:9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "::1:9464"} {
		if _, err := readConfig(fromLookup(map[string]string{"DIXIE_METRICS_LISTEN": value})); err == nil {
			t.Errorf("%q is accepted", value)
		}
	}
}

// TestMetricsListenElsewhere: two listeners at one port are found out before the second one fails.
func TestMetricsListenElsewhere(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		host, port, metrics string
		refused             bool
	}{
		{"", "3001", "3001", true},
		{"localhost", "3001", ":3001", true},
		{"0.0.0.0", "3001", "127.0.0.1:3001", true},
		{"127.0.0.1", "3001", "[::]:3001", true},
		{"::1", "3001", "[0:0:0:0:0:0:0:1]:3001", true},
		{"", "3001", "9464", false},
		{"127.0.0.1", "3001", "10.0.0.5:3001", false},
		{"0.0.0.0", "3001", "0.0.0.0:9464", false},
	} {
		_, err := readConfig(fromLookup(map[string]string{
			"DIXIE_HOST": tc.host, "DIXIE_PORT": tc.port, "DIXIE_METRICS_LISTEN": tc.metrics,
			"DIXIE_ALLOWLIST_PATH": "/nowhere/allowlist.json",
		}))
		if named := err != nil && strings.Contains(err.Error(), "DIXIE_METRICS_LISTEN is where"); named != tc.refused {
			t.Errorf("%s:%s and %s: %v, want refused %t", tc.host, tc.port, tc.metrics, err, tc.refused)
		}
	}
}
