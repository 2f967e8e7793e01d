package dixie_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"dixie"
	"dixie/governance"
	"dixie/internal/wallet"
	"dixie/reputation"
	"dixie/reputation/memory"
)

func qualitySignal(score float64, more string) string {
	return fmt.Sprintf(`{"type":"quality_signal","score":%v%s}`, score, more)
}

// stakes makes each wallet the tier that its stake buys.
type stakes map[string]float64

func (s stakes) Staked(_ context.Context, address string) (float64, error) { return s[address], nil }

// as signs in a wallet of the tier.
func (s *service) as(known stakes, tier governance.Tier) string {
	s.t.Helper()
	key, err := wallet.NewKey()
	if err != nil {
		s.t.Fatal(err)
	}
	known[string(key.Address())] = tier.MinStake()
	token, ok := s.signIn(key).field("token").(string)
	if !ok {
		s.t.Fatal("no token")
	}
	return token
}

// TestReputationIsRecordedAndRead is T3.5 on one process: 201, and the same EMA when it is read.
func TestReputationIsRecordedAndRead(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	const path = "/api/reputation/oracle-001"
	want(t, "before", s.do(http.MethodGet, path, token, ""), http.StatusNotFound, "not_found")
	want(t, "its cohorts", s.do(http.MethodGet, path+"/cohorts", token, ""), http.StatusNotFound, "not_found")

	// The worked sequence of a lone agent: its prior is its own average before the sample.
	averages := []float64{0.8, 0.7784, 0.8041056, 0.7539965056, 0.7732689668608}
	priors := []float64{0.5, 0.8, 0.7784, 0.8041056, 0.7539965056}
	for i, score := range []float64{0.8, 0.6, 1.0, 0.4, 0.9} {
		got := s.do(http.MethodPost, path+"/events", token, qualitySignal(score, `,"task_type":"code_review","dimensions":{"accuracy":0.9}`))
		want(t, "record", got, http.StatusCreated, "")
		n := float64(i + 1)
		blend := (10*priors[i] + n*averages[i]) / (10 + n)
		if !near(got.field("ema"), averages[i]) || !near(got.field("score"), blend) || got.field("sample_count") != n {
			t.Errorf("sample %d: %s, want the average %v and the blend %v", i+1, got.body, averages[i], blend)
		}
		if read := s.do(http.MethodGet, path, token, ""); read.field("ema") != got.field("ema") || read.field("score") != got.field("score") {
			t.Errorf("read %s after %s", read.body, got.body)
		}
		query := s.do(http.MethodGet, "/api/reputation/query?routingKey=nft:oracle-001", token, "")
		if query.field("score") != got.field("score") {
			t.Errorf("query %s after %s", query.body, got.body)
		}
	}
	cohorts := s.do(http.MethodGet, path+"/cohorts", token, "")
	want(t, "cohorts", cohorts, http.StatusOK, "")
	if !near(cohorts.field("cross_model_score"), averages[4]) || !strings.Contains(string(cohorts.body), `"model_id":"default"`) {
		t.Errorf("cohorts: %s", cohorts.body)
	}
	population := s.do(http.MethodGet, "/api/reputation/population", adminKey, "")
	want(t, "population", population, http.StatusOK, "")
	if !near(population.field("mean"), averages[4]) || population.field("population_size") != 1.0 {
		t.Errorf("population: %s", population.body)
	}
	health := s.do(http.MethodGet, "/api/health", "", "")
	if !strings.Contains(string(health.body), `"reputation_service":{"initialized":true,"aggregate_count":1}`) {
		t.Errorf("health: %s", health.body)
	}
}

func near(got any, want float64) bool {
	number, ok := got.(float64)
	return ok && math.Abs(number-want) <= 1e-12
}

func TestReputationEventCountsOnce(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	id := uuid.NewString()
	body := qualitySignal(0.8, fmt.Sprintf(`,"event_id":%q`, strings.ToUpper(id)))
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for range 20 {
		wg.Go(func() {
			got := s.do(http.MethodPost, "/api/reputation/agent/events", token, body)
			mu.Lock()
			defer mu.Unlock()
			statuses[got.status]++
			if got.field("event_id") != id || got.field("sample_count") != 1.0 || got.field("duplicate") != (got.status == http.StatusOK) {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{http.StatusCreated: 1, http.StatusOK: 19}, statuses); diff != "" {
		t.Error(diff)
	}
	want(t, "other content", s.do(http.MethodPost, "/api/reputation/agent/events", token, qualitySignal(0.7, fmt.Sprintf(`,"event_id":%q`, id))),
		http.StatusConflict, "event_conflict")
	want(t, "another agent", s.do(http.MethodPost, "/api/reputation/other/events", token, body), http.StatusConflict, "event_conflict")
	want(t, "no trace of the other", s.do(http.MethodGet, "/api/reputation/other", token, ""), http.StatusNotFound, "not_found")
}

func TestReputationTakesEveryTypeOfEvent(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	for _, body := range []string{
		`{"type":"model_performance","model_id":"m","provider":"p","pool_id":"q","task_type":"analysis","sequence":1,` +
			`"quality_observation":{"score":0.5,"dimensions":{"accuracy":1},"latency_ms":12,"evaluated_by":"somebody"},` +
			`"request_context":{"request_id":"` + uuid.NewString() + `","delegation_id":"` + uuid.NewString() + `"}}`,
		`{"type":"task_completed","task_type":"analysis","success":true,"duration_ms":1000,"timestamp":"2026-02-26T12:00:00Z"}`,
		`{"type":"credential_update","credential_id":"` + uuid.NewString() + `","action":"issued","collection_id":"c"}`,
	} {
		want(t, body, s.do(http.MethodPost, "/api/reputation/agent/events", token, body), http.StatusCreated, "")
	}
	got := s.do(http.MethodGet, "/api/reputation/agent/cohorts", token, "")
	var cohorts struct {
		Cohorts []struct {
			Model   string `json:"model_id"`
			Samples int    `json:"sample_count"`
		} `json:"cohorts"`
	}
	if err := json.Unmarshal(got.body, &cohorts); err != nil || len(cohorts.Cohorts) != 1 || cohorts.Cohorts[0].Model != "m" {
		t.Errorf("cohorts %s, %v", got.body, err)
	}
}

func TestReputationInput(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	token := s.token()
	performance := func(rest string) string {
		return `{"type":"model_performance","model_id":"m","provider":"p","pool_id":"q","task_type":"analysis"` + rest + `}`
	}
	for _, body := range []string{
		``, `{`, `[]`, `null`, `{}`, `{"type":"praise"}`, `{"type":7}`,
		`{"type":"quality_signal"}`, qualitySignal(1.5, ""), qualitySignal(-0.1, ""), `{"type":"quality_signal","score":1e999}`,
		`{"type":"quality_signal","score":"0.5"}`, `{"type":"quality_signal","score":null}`,
		qualitySignal(1, `,"event_id":"7"`), qualitySignal(1, `,"event_id":""`),
		qualitySignal(1, `,"timestamp":"yesterday"`), qualitySignal(1, `,"timestamp":""`), qualitySignal(1, `,"timestamp":"0001-01-01T00:00:00Z"`),
		qualitySignal(1, `,"timestamp":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"`),
		qualitySignal(1, `,"sequence":-1`), qualitySignal(1, `,"sequence":0.5`), qualitySignal(1, `,"collection_id":""`),
		qualitySignal(1, `,"task_type":""`), qualitySignal(1, `,"task_type":"Dance"`), qualitySignal(1, `,"model_id":"m"`),
		qualitySignal(1, `,"success":true`), qualitySignal(1, `,"quality_observation":{"score":1}`), qualitySignal(1, `,"request_context":{}`),
		qualitySignal(1, `,"dimensions":{"Accuracy":1}`), qualitySignal(1, `,"dimensions":{"accuracy":2}`), qualitySignal(1, `,"dimensions":[]`),
		performance(``), performance(`,"quality_observation":{}`), performance(`,"score":1,"quality_observation":{"score":1}`),
		performance(`,"quality_observation":{"score":1,"latency_ms":-1}`), performance(`,"quality_observation":{"score":1,"evaluated_by":""}`),
		performance(`,"quality_observation":{"score":1},"request_context":{"request_id":"x"}`),
		`{"type":"task_completed","task_type":"analysis"}`, `{"type":"task_completed","task_type":"analysis","success":true,"duration_ms":3600001}`,
		`{"type":"credential_update","credential_id":"x","action":"issued"}`,
		`{"type":"credential_update","credential_id":"` + uuid.NewString() + `","action":"lost"}`,
	} {
		want(t, body, s.do(http.MethodPost, "/api/reputation/agent/events", token, body), http.StatusBadRequest, "invalid_request")
	}
	want(t, "101 KiB", s.do(http.MethodPost, "/api/reputation/agent/events", token, qualitySignal(1, strings.Repeat(" ", 101<<10))),
		http.StatusRequestEntityTooLarge, "payload_too_large")
	for _, path := range []string{"a.b", strings.Repeat("a", 129)} {
		want(t, path, s.do(http.MethodGet, "/api/reputation/"+path, token, ""), http.StatusBadRequest, "invalid_request")
		want(t, path, s.do(http.MethodGet, "/api/reputation/"+path+"/cohorts", token, ""), http.StatusBadRequest, "invalid_request")
	}
	for _, path := range []string{"query", "population"} {
		want(t, path, s.do(http.MethodPost, "/api/reputation/"+path+"/events", token, qualitySignal(1, "")), http.StatusBadRequest, "invalid_request")
	}
	for _, query := range []string{"", "?routingKey=", "?routingKey=oracle", "?routingKey=nft:", "?routingKey=nft:..%2f", "?routingKey=nft:unknown"} {
		if got := s.do(http.MethodGet, "/api/reputation/query"+query, token, ""); got.status != http.StatusOK || string(got.body) != "{\"score\":null}\n" {
			t.Errorf("query%s: %d %s", query, got.status, got.body)
		}
	}
	if got := s.do(http.MethodGet, "/api/reputation/population", adminKey, ""); got.field("store_count") != 0.0 {
		t.Errorf("something was recorded: %s", got.body)
	}
}

// TestReputationCallers is decision 3: who may read, and who may record.
func TestReputationCallers(t *testing.T) {
	t.Parallel()
	known := stakes{}
	list, err := dixie.NewMemoryAllowlist(nil, []string{"dxk_12345678"})
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New(0)
	s := start(t, nil, dixie.WithGovernance(dixie.GovernanceConfig{Stakes: known}), dixie.WithReputation(dixie.ReputationConfig{Store: store}))
	keys := start(t, nil, dixie.WithAllowlist(list), dixie.WithReputation(dixie.ReputationConfig{Store: store}))
	builder, architect, participant := s.as(known, governance.Builder), s.as(known, governance.Architect), s.as(known, governance.Participant)
	const agent = "/api/reputation/agent"
	signal := qualitySignal(0.5, "")

	want(t, "record as architect", s.do(http.MethodPost, agent+"/events", architect, signal), http.StatusCreated, "")
	want(t, "record as admin", s.do(http.MethodPost, agent+"/events", adminKey, signal), http.StatusCreated, "")
	want(t, "record by API key", keys.do(http.MethodPost, agent+"/events", "dxk_12345678", signal), http.StatusCreated, "")
	want(t, "record as nobody", s.do(http.MethodPost, agent+"/events", "", signal), http.StatusUnauthorized, "unauthorized")
	want(t, "record by an unknown key", keys.do(http.MethodPost, agent+"/events", "dxk_87654321", signal), http.StatusForbidden, "forbidden")
	denied := s.do(http.MethodPost, agent+"/events", builder, signal)
	want(t, "record as builder", denied, http.StatusForbidden, "forbidden")
	if !strings.Contains(string(denied.body), `"actual_tier":"builder","required_tier":"architect",`+
		`"denial_codes":["TRUST_SCORE_BELOW_THRESHOLD"],"evaluation_gap":{"trust_score_gap":0.3}`) {
		t.Errorf("denial: %s", denied.body)
	}
	for _, path := range []string{agent, agent + "/cohorts"} {
		want(t, "read as builder", s.do(http.MethodGet, path, builder, ""), http.StatusOK, "")
		want(t, "read as participant", s.do(http.MethodGet, path, participant, ""), http.StatusForbidden, "forbidden")
		want(t, "read by API key", keys.do(http.MethodGet, path, "dxk_12345678", ""), http.StatusUnauthorized, "unauthorized")
		want(t, "read as nobody", s.do(http.MethodGet, path, "", ""), http.StatusUnauthorized, "unauthorized")
	}
	want(t, "query by API key", keys.do(http.MethodGet, "/api/reputation/query?routingKey=nft:agent", "dxk_12345678", ""), http.StatusOK, "")
	want(t, "query as nobody", s.do(http.MethodGet, "/api/reputation/query", "", ""), http.StatusUnauthorized, "unauthorized")
	want(t, "query by an unknown key", keys.do(http.MethodGet, "/api/reputation/query", "dxk_87654321", ""), http.StatusForbidden, "forbidden")
	want(t, "population as a wallet", s.do(http.MethodGet, "/api/reputation/population", architect, ""), http.StatusForbidden, "forbidden")
	want(t, "population as nobody", s.do(http.MethodGet, "/api/reputation/population", "", ""), http.StatusUnauthorized, "unauthorized")

	log, err := store.Events(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var recorders []string
	for _, entry := range log {
		kind, _, _ := strings.Cut(entry.Event.Recorder, ":")
		recorders = append(recorders, kind)
	}
	if diff := cmp.Diff([]string{"wallet", "admin", "key"}, recorders); diff != "" {
		t.Errorf("recorders: %s", diff)
	}
}

// away is a store that has lost its database.
type away struct{ reputation.Store }

var errAway = errors.New("dial tcp 10.0.0.7:5432: connection refused")

func (away) Apply(context.Context, []reputation.Entry, reputation.Fold) ([]reputation.Outcome, error) {
	return nil, errAway
}

func (away) Get(context.Context, string) (reputation.Aggregate, error) {
	return reputation.Aggregate{}, errAway
}
func (away) Population(context.Context) (reputation.Moments, error) {
	return reputation.Moments{}, errAway
}
func (away) Count(context.Context) (int, error) { return 0, errAway }

func TestReputationStoreAway(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithReputation(dixie.ReputationConfig{Store: away{}}))
	token := s.token()
	for path, credential := range map[string]string{
		"/api/reputation/agent": token, "/api/reputation/agent/cohorts": token,
		"/api/reputation/query?routingKey=nft:agent": token, "/api/reputation/population": adminKey,
	} {
		got := s.do(http.MethodGet, path, credential, "")
		want(t, path, got, http.StatusServiceUnavailable, "service_unavailable")
		if strings.Contains(string(got.body), "10.0.0.7") || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	want(t, "record", s.do(http.MethodPost, "/api/reputation/agent/events", token, qualitySignal(1, "")), http.StatusServiceUnavailable, "service_unavailable")
	health := s.do(http.MethodGet, "/api/health", "", "")
	if !strings.Contains(string(health.body), `"reputation_service":{"initialized":false,"aggregate_count":0}`) ||
		!strings.Contains(string(health.body), `"health":"degraded"`) {
		t.Errorf("health: %s", health.body)
	}
	governors := s.do(http.MethodGet, "/api/health/governance", adminKey, "")
	want(t, "governors", governors, http.StatusOK, "")
	if governors.field("degradedResources") != 1.0 || !strings.Contains(string(governors.body), `"resourceType":"reputation","health":null`) {
		t.Errorf("governors: %s", governors.body)
	}
}
