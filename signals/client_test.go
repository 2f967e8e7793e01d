package signals_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"dixie"
	"dixie/finn"
	"dixie/finn/localfinn"
	"dixie/fleet"
	"dixie/fleet/postgres"
	"dixie/internal/wallet"
)

// finnHeaders are what Finn is called with: where, and of which trace.
type finnHeaders struct{ Path, Parent, State string }

// tappedFinn is a Finn that remembers how it was called.
type tappedFinn struct {
	url string

	mu    sync.Mutex
	calls []finnHeaders // GUARDED_BY(mu)
}

func startFinn(t *testing.T) *tappedFinn {
	t.Helper()
	local := localfinn.New(localfinn.Config{})
	f := &tappedFinn{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		call := finnHeaders{
			path, strings.Join(r.Header.Values("Traceparent"), " and "), strings.Join(r.Header.Values("Tracestate"), " and "),
		}
		f.mu.Lock()
		f.calls = append(f.calls, call)
		f.mu.Unlock()
		local.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		if err := local.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	f.url = server.URL
	return f
}

func (f *tappedFinn) take() []finnHeaders {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// exchange does one request and returns the fields of the answer.
func exchange(t *testing.T, method, url, body string, header http.Header) map[string]any {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil || response.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s %s: %s %s", method, url, response.Status, text)
	}
	return fields
}

func signIn(t *testing.T, url string) string {
	t.Helper()
	key, err := wallet.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	nonce, _ := exchange(t, http.MethodGet, url+"/api/auth/nonce", "", nil)["nonce"].(string)
	text := wallet.SignInMessage{
		Domain: "localhost:3001", URI: "http://localhost:3001", Address: key.Address(), Nonce: nonce, IssuedAt: time.Now(),
	}.String()
	signature, err := key.SignMessage(text)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"message": text, "signature": signature})
	if err != nil {
		t.Fatal(err)
	}
	token, _ := exchange(t, http.MethodPost, url+"/api/auth/siwe", string(body), nil)["token"].(string)
	return token
}

// TestClientsTraceGoesAllTheWay is T4.6 from a client's headers to Finn and to NATS, for a task on PostgreSQL and a chat
// turn, with tracing and without: each call and each signal has both headers, in the client's trace, or neither. No line
// of the log has the state, and the one that tells of the spawn has the id of the request.
func TestClientsTraceGoesAllTheWay(t *testing.T) {
	t.Parallel()
	for name, on := range map[string]bool{"with tracing": true, "without tracing": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			finnAt, nats, log := startFinn(t), startNATS(t), &journal{}
			p := open(t, nats.ClientURL())
			ready(t, p)
			pool, err := pgxpool.New(t.Context(), database.Migrated(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			store, err := postgres.New(postgres.Config{Pool: pool, Publish: func(ctx context.Context, e fleet.Event) error {
				return p.Fleet(ctx, postgres.MessageID(ctx), e)
			}})
			if err != nil {
				t.Fatal(err)
			}
			options := []dixie.Option{
				dixie.WithEnvironment(dixie.Test), dixie.WithLogger(logger), dixie.WithFinn(finn.Config{URL: finnAt.url}),
				dixie.WithFleet(dixie.FleetConfig{Store: store}), dixie.WithChat(dixie.ChatConfig{OnInteraction: p.Interaction}),
				dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: -1}), // It asks often whether the task is done.
			}
			if on {
				provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(tracetest.NewSpanRecorder()))
				options = append(options, dixie.WithTracing(dixie.TracingConfig{Provider: provider}))
			}
			h, err := dixie.New(options...)
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(h)
			token := signIn(t, server.URL)
			for _, traced := range []bool{true, false} {
				header := http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "X-Request-Id": {"request-1"}}
				if traced {
					header["Traceparent"], header["Tracestate"] = []string{parent}, []string{state}
				}
				finnAt.take()
				before := len(stored(t, nats.ClientURL()))
				id, _ := exchange(t, http.MethodPost, server.URL+"/api/fleet/spawn",
					`{"description":"Fix the door","taskType":"bug_fix","repository":"acme/house"}`, header)["taskId"].(string)
				eventually(t, "the task is done", func() bool {
					task := exchange(t, http.MethodGet, server.URL+"/api/fleet/tasks/"+id, "", http.Header{"Authorization": header["Authorization"]})
					return task["status"] == "completed"
				})
				exchange(t, http.MethodPost, server.URL+"/api/chat", `{"prompt":"x"}`, header)
				// Of the task: two calls at least, and two signals. Of the turn the same, and one signal.
				eventually(t, "all is told", func() bool {
					s := p.Stats()
					return s.Published+s.FleetPublished == uint64(before)+3
				})
				calls := finnAt.take()
				if len(calls) < 4 {
					t.Errorf("%d calls to Finn: %+v", len(calls), calls)
				}
				for _, call := range calls {
					inClientsTrace(t, "Finn "+call.Path, call.Parent, call.State, traced, on)
				}
				for _, m := range stored(t, nats.ClientURL())[before:] {
					inClientsTrace(t, m.subject, m.trace, m.state, traced, on)
				}
				said := log.lines("fleet_task_spawned")
				if !slices.ContainsFunc(said, func(line string) bool {
					return strings.Contains(line, "task_id="+id) && strings.Contains(line, "request_id=request-1")
				}) {
					t.Errorf("no line of the spawn names the task and the request: %q", said)
				}
			}
			server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := h.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			closeWell(t, p)
			if log.count("b@c") > 0 || log.count("request-1") == 0 {
				t.Error("the log tells the state, or nothing")
			}
		})
	}
}

// inClientsTrace wants both headers of something that a client with a trace has caused. Without a client's trace there is
// no state, and with tracing off no header at all.
func inClientsTrace(t *testing.T, what, gotParent, gotState string, traced, on bool) {
	t.Helper()
	const traceID = len("00-0af7651916cd43dd8448eb211c80319c-")
	var want, got struct{ Parent, State string }
	got.Parent, got.State = gotParent, gotState
	switch {
	case traced && on: // The span is one of ours.
		want.Parent, want.State = parent[:traceID], state
		got.Parent = gotParent[:min(traceID, len(gotParent))]
	case traced:
		want.Parent, want.State = parent, state
	case on:
		want.Parent = gotParent
		if len(gotParent) != len(parent) || strings.HasPrefix(gotParent, parent[:traceID]) {
			t.Errorf("%s without a client's trace has %q", what, gotParent)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
