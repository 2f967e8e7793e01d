package dixie_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dixie"
	"dixie/finn"
	"dixie/governance"
	"dixie/internal/wallet"
	"dixie/telemetry"
)

// meter collects, and shows what it has.
type meter struct {
	tb      testing.TB
	metrics *telemetry.Metrics
}

func newMeter(tb testing.TB) meter {
	tb.Helper()
	metrics, err := telemetry.NewMetrics(telemetry.MetricsConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := metrics.Shutdown(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
	})
	return meter{tb, metrics}
}

func (m meter) option() dixie.Option { return dixie.WithMetrics(m.metrics.MeterProvider()) }

// series are the lines of a scrape that are about dixie, sorted.
func (m meter) series() []string {
	m.tb.Helper()
	w := httptest.NewRecorder()
	m.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		m.tb.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	var found []string
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "go_") && !strings.HasPrefix(line, "process_") && !strings.Contains(line, "_bucket{") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	slices.Sort(found)
	return found
}

// expect waits until all the lines are in a scrape: what follows an answer may come after it.
func (m meter) expect(lines ...string) {
	m.tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		got := m.series()
		missing := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return slices.Contains(got, line) })
		if len(missing) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			m.tb.Fatalf("not in the scrape: %s\n%s", strings.Join(missing, "\n"), strings.Join(got, "\n"))
		}
	}
}

func TestMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	m, known := newMeter(t), stakes{}
	s := start(t, nil, m.option(), dixie.WithGovernance(dixie.GovernanceConfig{Stakes: known}))
	token, poor := s.as(known, governance.Architect), s.token()
	want(t, "a bad sign-in", s.do(http.MethodPost, "/api/auth/siwe", "", `{"message":"x","signature":"0x"}`), http.StatusUnauthorized, "")
	want(t, "chat", s.do(http.MethodPost, "/api/chat", token, `{"prompt":"hello"}`), http.StatusOK, "")
	const event = `,"event_id":"4b4f7f0e-8a4b-4f0c-9a64-1e2f3a4b5c6d"`
	want(t, "event", s.do(http.MethodPost, "/api/reputation/a/events", token, qualitySignal(0.5, event)), http.StatusCreated, "")
	s.do(http.MethodPost, "/api/reputation/a/events", token, qualitySignal(0.5, event))
	want(t, "conflict", s.do(http.MethodPost, "/api/reputation/a/events", token, qualitySignal(0.7, event)), http.StatusConflict, "")
	spawned := s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("say marmalade"))
	want(t, "spawn", spawned, http.StatusCreated, "")
	id, _ := spawned.field("taskId").(string)
	s.awaitStatus(token, id, "completed")
	want(t, "denied", s.do(http.MethodPost, "/api/fleet/spawn", poor, spawnBody("no")), http.StatusForbidden, "spawn_denied")
	m.expect(
		`http_server_request_duration_seconds_count{http_request_method="POST",http_route="/api/chat",status_class="2xx"} 1`,
		`http_server_request_duration_seconds_count{http_request_method="POST",http_route="/api/fleet/spawn",status_class="4xx"} 1`,
		`http_server_active_requests{http_request_method="POST",http_route="/api/chat"} 0`,
		`dixie_auth_sign_ins_total{outcome="signed_in"} 2`,
		`dixie_auth_sign_ins_total{outcome="refused"} 1`,
		`dixie_reputation_events_total{outcome="recorded"} 1`,
		`dixie_reputation_events_total{outcome="duplicate"} 1`,
		`dixie_reputation_events_total{outcome="refused"} 1`,
		`dixie_reputation_batch_size_sum 3`,
		`dixie_reputation_batch_duration_seconds_count{outcome="recorded"} 3`,
		`dixie_governance_admissions_total{decision="admit",reason="none"} 1`,
		`dixie_governance_admissions_total{decision="deny",reason="tier_not_permitted"} 1`,
		`dixie_fleet_task_outcomes_total{outcome="completed",reason="none"} 1`,
		`dixie_fleet_active_tasks 0`,
		`dixie_finn_circuit_state{state="closed"} 1`,
	)
}

// TestMetricsOfAStream looks while a chat is being streamed, a socket watches and a task is at work.
func TestMetricsOfAStream(t *testing.T) {
	t.Parallel()
	m, known := newMeter(t), stakes{}
	g := gated{make(chan struct{})}
	s := start(t, g, m.option(), dixie.WithGovernance(dixie.GovernanceConfig{Stakes: known}),
		dixie.WithFleet(dixie.FleetConfig{Runner: untilStopped()}))
	token := s.as(known, governance.Builder)
	id, _ := s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("wait")).field("taskId").(string)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/chat", strings.NewReader(`{"prompt":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "text/event-stream")
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	session := firstSession(t, s.do(http.MethodGet, "/api/sessions", token, ""))
	conn := s.dial(token, session)
	m.expect(
		`dixie_chat_active_streams 1`, `dixie_chat_active_sockets 1`, `dixie_fleet_active_tasks 1`,
		`http_server_active_requests{http_request_method="POST",http_route="/api/chat"} 1`,
		`http_server_active_requests{http_request_method="GET",http_route="/ws/chat/{sessionId}"} 1`,
	)
	close(g.next)
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		continue
	}
	_ = conn.CloseNow()
	want(t, "stop", s.do(http.MethodPost, "/api/fleet/tasks/"+id+"/stop", token, ""), http.StatusOK, "")
	m.expect(
		`dixie_chat_active_streams 0`, `dixie_chat_active_sockets 0`, `dixie_fleet_active_tasks 0`,
		`http_server_active_requests{http_request_method="POST",http_route="/api/chat"} 0`,
		`http_server_request_duration_seconds_count{http_request_method="GET",http_route="/ws/chat/{sessionId}",status_class="1xx"} 1`,
		`dixie_fleet_task_outcomes_total{outcome="cancelled",reason="none"} 1`,
	)
}

// TestMetricsOfTheCircuit has Finn away, and the host listening too.
func TestMetricsOfTheCircuit(t *testing.T) {
	t.Parallel()
	m := newMeter(t)
	var mu sync.Mutex
	var changes []finn.CircuitState
	calls := 0
	away := httptest.NewServer(nil)
	away.Close()
	s := start(t, nil, m.option(), dixie.WithGovernance(dixie.GovernanceConfig{Stakes: noStakes{}}), dixie.WithFinn(finn.Config{
		URL: away.URL,
		OnCircuitChange: func(c finn.CircuitChange) {
			mu.Lock()
			defer mu.Unlock()
			changes = append(changes, c.To)
		},
		OnCall: func(finn.CallResult) {
			mu.Lock()
			defer mu.Unlock()
			calls++
		},
	}))
	token := s.token()
	for range finn.FailureThreshold {
		want(t, "chat", s.do(http.MethodPost, "/api/chat", token, `{"prompt":"hello"}`), http.StatusServiceUnavailable, "")
	}
	want(t, "chat", s.do(http.MethodPost, "/api/chat", token, `{"prompt":"hello"}`), http.StatusServiceUnavailable, "circuit_open")
	m.expect(
		`dixie_finn_circuit_state{state="open"} 1`, `dixie_finn_circuit_state{state="closed"} 0`,
		`dixie_finn_circuit_transitions_total{state="open"} 1`,
		fmt.Sprintf(`dixie_finn_call_duration_seconds_count{operation="create_session",outcome="failed"} %d`, finn.FailureThreshold),
		`dixie_finn_call_duration_seconds_count{operation="create_session",outcome="circuit_open"} 1`,
	)
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(changes, []finn.CircuitState{finn.Open}) || calls != finn.FailureThreshold+1 {
		t.Errorf("the host was told of the changes %v and %d calls", changes, calls)
	}
}

func TestMetricsOfLimitsAndDependencies(t *testing.T) {
	t.Parallel()
	m := newMeter(t)
	s := start(t, nil, m.option(), dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: 3, Limiter: failingLimiter{}}),
		dixie.WithDependency(dixie.Dependency{Name: "fine", Check: func(context.Context) error { return nil }}),
		dixie.WithDependency(dixie.Dependency{Name: "away", Check: func(context.Context) error { return context.DeadlineExceeded }}))
	for range 4 {
		s.do(http.MethodGet, "/api/health", "", "")
	}
	m.expect(
		`dixie_ratelimit_fallbacks_total 4`, `dixie_ratelimit_refusals_total{limit="requests"} 1`,
		`dixie_dependency_up{dependency="fine"} 1`, `dixie_dependency_up{dependency="away"} 0`,
	)
}

// talkative is a witness that repeats what a client said.
type talkative struct{}

func (talkative) Name() string { return "talkative" }

func (talkative) Judge(c governance.Case) governance.Verdict {
	return governance.Verdict{Reason: governance.DenialReason("because of " + c.Request.TaskType + c.Request.Operator)}
}

// TestHostileClientsMakeNoSeries sends what no client should, in everything that a client chooses: after the first
// round no other round may add a series, and no word of theirs may be in one.
func TestHostileClientsMakeNoSeries(t *testing.T) {
	t.Parallel()
	m, known := newMeter(t), stakes{}
	s := start(t, nil, m.option(), dixie.WithGovernance(dixie.GovernanceConfig{Stakes: known, Witnesses: []governance.Witness{talkative{}}}))
	tokens := []string{s.as(known, governance.Architect), s.as(known, governance.Architect)}
	round := func(n int) {
		secret := fmt.Sprintf("sEcReT%d", n)
		token := tokens[n%len(tokens)]
		send := func(method, target, body string, header ...string) {
			r := httptest.NewRequest(http.MethodGet, "/", strings.NewReader(body))
			r.Method, r.URL.Path, r.Host = method, target, secret+".example"
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("User-Agent", secret)
			for i := 0; i+1 < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			s.handler.ServeHTTP(httptest.NewRecorder(), r)
		}
		for _, method := range []string{secret, "get", "POST\n", http.MethodGet, http.MethodTrace} {
			for _, path := range []string{
				"/" + secret, "/api/" + secret, "/api/fleet/" + secret, "/api/sessions/" + secret, "//" + secret, "/../" + secret,
				"/api/reputation/" + secret, "/api/fleet/tasks/" + secret + "/logs", "/ws/chat/" + secret, "/api/admin/allowlist/" + secret,
			} {
				send(method, path, "")
			}
		}
		send(http.MethodPost, "/api/fleet/spawn", fmt.Sprintf(`{"description":"x","taskType":%q,"repository":"a/b"}`, secret))
		send(http.MethodPost, "/api/fleet/spawn",
			fmt.Sprintf(`{"description":"x","taskType":"feature","repository":"a/b","model":%q,"agentType":%q}`, secret, secret))
		send(http.MethodPost, "/api/fleet/spawn", spawnBody(secret))
		send(http.MethodPost, "/api/chat", fmt.Sprintf(`{"prompt":%q}`, secret), "X-Request-Id", secret)
		send(http.MethodPost, "/api/auth/siwe", fmt.Sprintf(`{"message":%q,"signature":%q}`, secret, secret))
		send(http.MethodPost, "/api/reputation/"+secret+"/events",
			fmt.Sprintf(`{"type":"model_performance","model_id":%q,"provider":%q,"pool_id":%q,"quality_observation":{"score":0.5}}`, secret, secret, secret))
		send(http.MethodPost, "/api/reputation/"+secret+"/events", fmt.Sprintf(`{"type":%q}`, secret))
	}
	// names are the series without their values.
	names := func() []string {
		all := m.series()
		for i, line := range all {
			all[i] = line[:strings.LastIndex(line, " ")]
		}
		return all
	}
	round(0)
	first := names()
	for n := range 5 {
		round(n + 1)
	}
	last := names()
	if !slices.Equal(first, last) {
		t.Errorf("%d series after the first round, %d after the last", len(first), len(last))
	}
	text := strings.ToLower(strings.Join(m.series(), "\n"))
	for _, word := range []string{"secret", "because of", strings.ToLower(string(wallet.TestAddress)), "0x"} {
		if strings.Contains(text, word) {
			t.Errorf("%q is in the metrics", word)
		}
	}
	m.expect(`dixie_governance_admissions_total{decision="deny",reason="other"} 6`)
}
