package deploy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

// scrapeInterval is how often Prometheus asks the targets, and judges the rules.
const scrapeInterval = 15 * time.Second

// atRest is what Prometheus has of one replica of dixie that is well and busy, and of another service that is neither.
// The values are 15 s apart; the last one stays.
const atRest = `
up 1
dixie_finn_circuit_state{state="closed"} 1
dixie_finn_circuit_state{state="half-open"} 0
dixie_finn_circuit_state{state="open"} 0
dixie_finn_circuit_transitions_total{state="closed"} 0
dixie_finn_circuit_transitions_total{state="half-open"} 0
dixie_finn_circuit_transitions_total{state="open"} 0
http_server_request_duration_seconds_count{http_route="/api/chat",status_class="2xx"} 0+15x240
http_server_request_duration_seconds_count{http_route="/livez",status_class="2xx"} 0+6x240
http_server_request_duration_seconds_count{http_route="/readyz",status_class="2xx"} 0+6x240
http_server_request_duration_seconds_count{http_route="/api/health",status_class="2xx"} 0+6x240
http_server_request_duration_seconds_count{http_route="/metrics",status_class="2xx"} 0+1x240
http_server_request_duration_seconds_bucket{http_route="/api/chat",le="1"} 0
http_server_request_duration_seconds_bucket{http_route="/api/chat",le="5"} 0+15x240
http_server_request_duration_seconds_bucket{http_route="/api/chat",le="+Inf"} 0+15x240
http_server_request_duration_seconds_bucket{http_route="/api/sessions",le="1"} 0+2x240
http_server_request_duration_seconds_bucket{http_route="/api/sessions",le="5"} 0+2x240
http_server_request_duration_seconds_bucket{http_route="/api/sessions",le="+Inf"} 0+2x240
http_server_request_duration_seconds_bucket{http_route="/livez",le="1"} 0+6x240
http_server_request_duration_seconds_bucket{http_route="/livez",le="5"} 0+6x240
http_server_request_duration_seconds_bucket{http_route="/livez",le="+Inf"} 0+6x240
dixie_dependency_up{dependency="loa_finn"} 1
dixie_dependency_up{dependency="nats"} 1
dixie_dependency_up{dependency="postgresql"} 1
dixie_dependency_up{dependency="redis"} 1
db_client_connection_count{db_client_connection_pool_name="postgresql",db_client_connection_state="idle"} 7
db_client_connection_count{db_client_connection_pool_name="postgresql",db_client_connection_state="used"} 3
db_client_connection_max{db_client_connection_pool_name="postgresql"} 10
db_client_connection_timeouts_total{db_client_connection_pool_name="postgresql"} 0
dixie_governance_admissions_total{decision="admit",reason="none"} 0+1x240
dixie_governance_admissions_total{decision="deny",reason="budget_exceeded"} 0
dixie_fleet_task_outcomes_total{outcome="completed",reason="none"} 0+1x240
dixie_fleet_task_outcomes_total{outcome="failed",reason="timeout"} 0
dixie_reputation_events_total{outcome="recorded"} 0+4x240
dixie_reputation_events_total{outcome="failed"} 0
dixie_ratelimit_fallbacks_total 0
dixie_signals_dropped_total{reason="buffer_full"} 0
dixie_spans_dropped_total 0
up{job="shop"} 0
http_server_request_duration_seconds_count{job="shop",http_route="/",status_class="5xx"} 0+900x240
http_server_request_duration_seconds_bucket{job="shop",http_route="/",le="1"} 0
http_server_request_duration_seconds_bucket{job="shop",http_route="/",le="5"} 0+900x240
http_server_request_duration_seconds_bucket{job="shop",http_route="/",le="+Inf"} 0+900x240
db_client_connection_count{job="shop",db_client_connection_pool_name="shop",db_client_connection_state="used"} 10
db_client_connection_max{job="shop",db_client_connection_pool_name="shop"} 10
db_client_connection_timeouts_total{job="shop",db_client_connection_pool_name="shop"} 0+1x240
`

// situation is what is other than at rest, from the tenth minute on.
type situation struct {
	name   string
	series string
	// length is how long one looks; 0: an hour.
	length time.Duration
	// fires has every alert that fires at some time, and stays those that do so at the end.
	fires, stays []string
}

func situations() []situation {
	return []situation{
		{name: "at rest"},
		{
			name: "the only process is gone",
			series: `up 1x40 0
			dixie_finn_circuit_state{state="closed"} 1x40 stale
			dixie_finn_circuit_state{state="half-open"} 0x40 stale
			dixie_finn_circuit_state{state="open"} 0x40 stale`,
			fires: []string{"DixieMetricsMissing", "DixieReplicaDown"}, stays: []string{"DixieMetricsMissing", "DixieReplicaDown"},
		},
		{
			name: "the target is not there",
			series: `up stale
			dixie_finn_circuit_state{state="closed"} stale
			dixie_finn_circuit_state{state="half-open"} stale
			dixie_finn_circuit_state{state="open"} stale`,
			fires: []string{"DixieMetricsMissing"}, stays: []string{"DixieMetricsMissing"},
		},
		{
			name: "one of two replicas is gone", series: `up{instance="b"} 1x40 0`,
			fires: []string{"DixieReplicaDown"}, stays: []string{"DixieReplicaDown"},
		},
		{name: "a replica is restarted", series: `up 1x40 0x8 1`},

		{
			name: "Finn is away for ten minutes, and everybody goes on calling",
			series: `dixie_finn_circuit_transitions_total{state="open"} 0x40 1+1x39 40
			dixie_finn_circuit_state{state="closed"} 1x40 0x39 1`,
			// Not for five minutes more, though the openings are that young.
			length: 22 * time.Minute, fires: []string{"DixieCircuitOpen"},
		},
		{
			name: "Finn is away for ten minutes, and nobody calls after that",
			series: `dixie_finn_circuit_transitions_total{state="open"} 0x40 1+1x39 40
			dixie_finn_circuit_state{state="closed"} 1x40 0
			dixie_finn_circuit_state{state="half-open"} 0x40 0x39 1`,
			length: 25 * time.Minute, fires: []string{"DixieCircuitOpen"},
		},
		{
			name: "Finn hangs: each probe takes two minutes",
			series: `dixie_finn_circuit_transitions_total{state="open"} 0x40 1x8 2x8 3x8 4x8 5x8 6x8 7x8 8x8 9x8 10x8
			dixie_finn_circuit_state{state="closed"} 1x40 0
			dixie_finn_circuit_state{state="half-open"} 0x40 1`,
			length: 30 * time.Minute, fires: []string{"DixieCircuitOpen"}, stays: []string{"DixieCircuitOpen"},
		},
		{
			name: "Finn works for moments only",
			series: `dixie_finn_circuit_transitions_total{state="open"} 0x40 1+1x200
			dixie_finn_circuit_state{state="closed"} 1x40 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0`,
			length: 16 * time.Minute, fires: []string{"DixieCircuitOpen"}, stays: []string{"DixieCircuitOpen"},
		},
		{
			name: "the circuit opened once, and nobody calls after that",
			series: `dixie_finn_circuit_transitions_total{state="open"} 0x40 1
			dixie_finn_circuit_state{state="closed"} 1x40 0
			dixie_finn_circuit_state{state="open"} 0x40 1 0
			dixie_finn_circuit_state{state="half-open"} 0x40 0 1`,
		},
		{
			name: "Finn is away for half a minute",
			series: `dixie_finn_circuit_transitions_total{state="open"} 0x40 1 3
			dixie_finn_circuit_state{state="closed"} 1x40 0x2 1`,
		},

		{
			name: "one chat a minute, and each fails",
			series: `http_server_request_duration_seconds_count{http_route="/api/chat",status_class="2xx"} 0
			http_server_request_duration_seconds_count{http_route="/api/chat",status_class="5xx"} _x40 1 1 1 1+0.25x200`,
			fires: []string{"DixieServerErrors"}, stays: []string{"DixieServerErrors"},
		},
		{
			name:   "one request in ten fails",
			series: `http_server_request_duration_seconds_count{http_route="/api/sessions",status_class="5xx"} _x40 1.5+1.5x80 120`,
			fires:  []string{"DixieServerErrors"},
		},
		{
			name:   "one request in fifty fails",
			series: `http_server_request_duration_seconds_count{http_route="/api/sessions",status_class="5xx"} _x40 0.3+0.3x200`,
		},
		{
			name: "of few requests one fails",
			series: `http_server_request_duration_seconds_count{http_route="/api/chat",status_class="2xx"} 0
			http_server_request_duration_seconds_count{http_route="/api/chat",status_class="5xx"} 1x40 2`,
		},
		{
			name: "one chat in five minutes, and each fails",
			series: `http_server_request_duration_seconds_count{http_route="/api/chat",status_class="2xx"} 0
			http_server_request_duration_seconds_count{http_route="/api/chat",status_class="5xx"} _x40 1 1 1 1+0.05x200`,
			fires: []string{"DixieServerErrors"}, stays: []string{"DixieServerErrors"},
		},
		{
			name: "every answer is cut off by a panic",
			series: `http_server_request_duration_seconds_count{http_route="/api/chat",status_class="2xx"} 0
			http_server_request_duration_seconds_count{http_route="/api/chat",status_class="aborted"} _x40 1+15x200`,
			fires: []string{"DixieServerErrors"}, stays: []string{"DixieServerErrors"},
		},
		{name: "not ready", series: `http_server_request_duration_seconds_count{http_route="/readyz",status_class="5xx"} _x40 6+6x200`},

		{
			name: "nobody calls, and each scrape waits for a Finn that hangs",
			series: `http_server_request_duration_seconds_bucket{http_route="/api/sessions",le="1"} 0
			http_server_request_duration_seconds_bucket{http_route="/api/sessions",le="5"} 0
			http_server_request_duration_seconds_bucket{http_route="/api/sessions",le="+Inf"} 0
			http_server_request_duration_seconds_bucket{http_route="/metrics",le="1"} 0
			http_server_request_duration_seconds_bucket{http_route="/metrics",le="5"} 0+1x240
			http_server_request_duration_seconds_bucket{http_route="/metrics",le="+Inf"} 0+1x240`,
		},
		{
			name:   "one request in ten is slow, next to fast probes",
			series: `http_server_request_duration_seconds_bucket{http_route="/api/sessions",le="1"} 0+2x40 80+1.8x200`,
			fires:  []string{"DixieSlowRequests"}, stays: []string{"DixieSlowRequests"},
		},

		{name: "no Finn", series: `dixie_dependency_up{dependency="loa_finn"} 1x40 0x40 1`, fires: []string{"DixieFinnAway"}},
		{name: "no PostgreSQL", series: `dixie_dependency_up{dependency="postgresql"} 1x40 0x40 1`, fires: []string{"DixieDatabaseAway"}},
		{name: "no Redis", series: `dixie_dependency_up{dependency="redis"} 1x40 0x40 1`, fires: []string{"DixieRedisAway"}},
		{name: "no NATS", series: `dixie_dependency_up{dependency="nats"} 1x40 0x40 1`, fires: []string{"DixieNATSAway"}},
		{
			name: "all connections in use",
			series: `db_client_connection_count{db_client_connection_pool_name="postgresql",db_client_connection_state="used"} 3x40 10x40 3
			db_client_connection_count{db_client_connection_pool_name="postgresql",db_client_connection_state="idle"} 7x40 0x40 7`,
			fires: []string{"DixiePoolExhausted"},
		},
		{
			name:   "nobody got a connection in time",
			series: `db_client_connection_timeouts_total{db_client_connection_pool_name="postgresql"} 0x40 3`, fires: []string{"DixiePoolTimeouts"},
		},

		{
			name: "no task is admitted",
			series: `dixie_governance_admissions_total{decision="admit",reason="none"} 0
			dixie_governance_admissions_total{decision="deny",reason="budget_exceeded"} 0x40 1x39 2x39 3x39 4x39 5`,
			fires: []string{"DixieNoAdmissions"}, stays: []string{"DixieNoAdmissions"},
		},
		{
			name: "one task is denied, and no other asked for",
			series: `dixie_governance_admissions_total{decision="admit",reason="none"} 0
			dixie_governance_admissions_total{decision="deny",reason="budget_exceeded"} 0x40 1`,
		},
		{
			name: "three tasks fail and none is completed",
			series: `dixie_fleet_task_outcomes_total{outcome="completed",reason="none"} 0
			dixie_fleet_task_outcomes_total{outcome="failed",reason="timeout"} 0x40 1 2 3`,
			fires: []string{"DixieTasksFailing"},
		},
		{
			name: "two tasks fail and none is completed",
			series: `dixie_fleet_task_outcomes_total{outcome="completed",reason="none"} 0
			dixie_fleet_task_outcomes_total{outcome="failed",reason="timeout"} 0x40 1 2`,
		},
		{name: "half as many tasks fail as are completed", series: `dixie_fleet_task_outcomes_total{outcome="failed",reason="timeout"} 0x40 0.5+0.5x200`},

		{
			name: "no event of reputation is recorded for twenty minutes",
			series: `dixie_reputation_events_total{outcome="recorded"} 0+4x40 160x80 160+4x120
			dixie_reputation_events_total{outcome="failed"} 0x40 4+4x80 324`,
			fires: []string{"DixieReputationFailures"},
		},
		{
			name: "an event of reputation every three minutes, and none is recorded",
			series: `dixie_reputation_events_total{outcome="recorded"} 0
			dixie_reputation_events_total{outcome="failed"} 0x40 1x11 2x11 3x11 4x11 5x11 6x11 7x11 8x11 9`,
			fires: []string{"DixieReputationFailures"},
		},
		{name: "a batch of reputation is lost", series: `dixie_reputation_events_total{outcome="failed"} 0x40 256`},
		{
			name: "a batch of reputation is lost, and there is no other",
			series: `dixie_reputation_events_total{outcome="recorded"} 0
			dixie_reputation_events_total{outcome="failed"} 0x40 256`,
		},

		{name: "the limiter fails", series: `dixie_ratelimit_fallbacks_total 0x40 10+10x40 410`, fires: []string{"DixieLimiterFallback"}},
		{name: "signals are dropped", series: `dixie_signals_dropped_total{reason="buffer_full"} 0x40 7`, fires: []string{"DixieSignalsDropped"}},
		{name: "spans are dropped", series: `dixie_spans_dropped_total 0x40 512+512x40 20992`, fires: []string{"DixieSpansDropped"}},
	}
}

// TestAlertsFireWhenTheyShould has Prometheus's own engine judge the rules. Each of them fires in one of the situations.
func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	var file struct {
		Groups []struct{ Rules []alertRule }
	}
	unmarshal(t, "prometheus/alerts.yaml", &file)
	var rules []alertRule
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	fired := map[string]bool{}
	for _, situation := range situations() {
		length := situation.length
		if length == 0 {
			length = time.Hour
		}
		history := parseHistory(t, atRest+situation.series)
		var fires, stays []string
		for _, rule := range rules {
			ever, atEnd := rule.fires(t, history, length)
			if ever {
				fires = append(fires, rule.Alert)
				fired[rule.Alert] = true
			}
			if atEnd {
				stays = append(stays, rule.Alert)
			}
		}
		slices.Sort(fires)
		slices.Sort(stays)
		if diff := cmp.Diff(situation.fires, fires); diff != "" {
			t.Errorf("%s: fires: %s", situation.name, diff)
		}
		if diff := cmp.Diff(situation.stays, stays); diff != "" {
			t.Errorf("%s: fires at the end: %s", situation.name, diff)
		}
	}
	for _, rule := range rules {
		if !fired[rule.Alert] {
			t.Errorf("there is no situation in which %s fires", rule.Alert)
		}
	}
}

// alertRule is an alert as Prometheus reads it.
type alertRule struct{ Alert, Expr, For string }

// fires tells whether the alert fires at some time and at the end: when its expression has had one result for long enough.
func (r alertRule) fires(t *testing.T, history scraped, length time.Duration) (ever, atEnd bool) {
	t.Helper()
	lasting, err := time.ParseDuration(r.For)
	if err != nil {
		t.Fatalf("%s: %v", r.Alert, err)
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	defer func() { _ = engine.Close() }()
	storable := storage.QueryableFunc(func(_, _ int64) (storage.Querier, error) {
		return &storage.MockQuerier{SelectMockFunction: history.find}, nil
	})
	query, err := engine.NewRangeQuery(t.Context(), storable, nil, r.Expr, time.Unix(0, 0), time.Unix(0, 0).Add(length), scrapeInterval)
	if err != nil {
		t.Fatalf("%s: %v", r.Alert, err)
	}
	defer query.Close()
	result, err := query.Exec(t.Context()).Matrix()
	if err != nil {
		t.Fatalf("%s: %v", r.Alert, err)
	}
	for _, series := range result {
		var since, last time.Duration
		for i, point := range series.Floats {
			now := time.Duration(point.T) * time.Millisecond
			if i == 0 || now != last+scrapeInterval {
				since = now
			}
			if last = now; now-since >= lasting {
				ever, atEnd = true, atEnd || now == length
			}
		}
	}
	return ever, atEnd
}

// scraped is what Prometheus has kept.
type scraped []storage.Series

// parseHistory reads series as promtool has them, one a line. A later one takes the place of an earlier one of the same
// labels, the last value stays, and the target is dixie's replica a unless the line says otherwise.
func parseHistory(t *testing.T, text string) scraped {
	t.Helper()
	const longest = int(2 * time.Hour / scrapeInterval)
	byLabels := map[string]storage.Series{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		metric, values, err := parser.ParseSeriesDesc(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		target := labels.NewBuilder(metric)
		for name, usual := range map[string]string{"job": "dixie", "instance": "a"} {
			if !metric.Has(name) {
				target.Set(name, usual)
			}
		}
		series := promql.Series{Metric: target.Labels()}
		for i := range longest {
			if value := values[min(i, len(values)-1)]; !value.Omitted {
				series.Floats = append(series.Floats, promql.FPoint{T: (time.Duration(i) * scrapeInterval).Milliseconds(), F: value.Value})
			}
		}
		byLabels[series.Metric.String()] = promql.NewStorageSeries(series)
	}
	var history scraped
	for _, key := range slices.Sorted(maps.Keys(byLabels)) {
		history = append(history, byLabels[key])
	}
	return history
}

func (s scraped) find(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &seriesSet{SeriesSet: storage.EmptySeriesSet()}
	for _, series := range s {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(series.Labels().Get(m.Name)) }) {
			found.rest = append(found.rest, series)
		}
	}
	return found
}

// seriesSet hands series out one after the other.
type seriesSet struct {
	storage.SeriesSet

	at   storage.Series
	rest []storage.Series
}

func (s *seriesSet) Next() bool {
	if len(s.rest) == 0 {
		return false
	}
	s.at, s.rest = s.rest[0], s.rest[1:]
	return true
}

func (s *seriesSet) At() storage.Series { return s.at }
