package main_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"dixie/internal/pgtest"
	"dixie/internal/redistest"
	"dixie/internal/wallet"
)

// outage is a server with all of its dependencies, each of which can be taken away.
type outage struct {
	server   *running
	postgres *pgtest.Server
	redis    *redistest.Server
	nats     *natsServer
	finn     *finnProcess
	database string
	binary   string
	key      wallet.Key
	token    string
	session  string
	known    *acknowledged
}

func startOutage(t *testing.T) *outage {
	t.Helper()
	o := &outage{
		postgres: pgtest.Start(t), redis: redistest.Start(t), nats: startNATS(t), finn: startFinn(t),
		binary: build(t, "dixie/examples/staging-server"), key: newWallets(t, 1)[0],
		known: &acknowledged{events: map[string]bool{}, tasks: map[string]string{}},
	}
	o.database = o.postgres.URL()
	env := append(stagingEnv(t, o.database, o.redis.URL(), o.finn.url(), o.key), "NATS_URL="+o.nats.url(), "DIXIE_RATE_LIMIT_RPM=10000")
	o.server = serve(t, o.binary, env...)
	o.token = signIn(t, o.server.url, o.key)
	o.session = o.chat(t.Context(), "").text("sessionId")
	if o.session == "" {
		t.Fatal("no session")
	}
	return o
}

func (o *outage) chat(ctx context.Context, session string) answer {
	body := `{"prompt":"hello"}`
	if session != "" {
		body = fmt.Sprintf(`{"prompt":"hello","sessionId":%q}`, session)
	}
	return ask(ctx, http.MethodPost, o.server.url+"/api/chat", o.token, body)
}

// operations are what people do with the service.
func (o *outage) operations() map[string]func(context.Context) answer {
	url := o.server.url
	return map[string]func(context.Context) answer{
		"live":        func(ctx context.Context) answer { return ask(ctx, http.MethodGet, url+"/livez", "", "") },
		"ready":       func(ctx context.Context) answer { return ask(ctx, http.MethodGet, url+"/readyz", "", "") },
		"nonce":       func(ctx context.Context) answer { return ask(ctx, http.MethodGet, url+"/api/auth/nonce", "", "") },
		"token":       func(ctx context.Context) answer { return ask(ctx, http.MethodGet, url+"/api/auth/verify", o.token, "") },
		"ticket":      o.ticket,
		"chat":        func(ctx context.Context) answer { return o.chat(ctx, o.session) },
		"new chat":    func(ctx context.Context) answer { return o.chat(ctx, "") },
		"unseen chat": func(ctx context.Context) answer { return o.chat(ctx, "never-seen-here") },
		"record":      o.record,
		"reputation": func(ctx context.Context) answer {
			return ask(ctx, http.MethodGet, url+"/api/reputation/agent-0", o.token, "")
		},
		"spawn": o.spawn,
		"fleet status": func(ctx context.Context) answer {
			return ask(ctx, http.MethodGet, url+"/api/fleet/status", o.token, "")
		},
	}
}

// ticket takes a ticket and uses it up, so that there is always room for the next one.
func (o *outage) ticket(ctx context.Context) answer {
	got := ask(ctx, http.MethodPost, o.server.url+"/api/ws/ticket", o.token, "")
	if ticket := got.text("ticket"); ticket != "" {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.server.url+"/ws/chat/other?ticket="+ticket, http.NoBody)
		if err != nil {
			return answer{raw: err.Error()}
		}
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
		} {
			r.Header.Set(name, value)
		}
		if response, err := http.DefaultClient.Do(r); err == nil {
			_ = response.Body.Close()
		}
	}
	return got
}

func (o *outage) record(ctx context.Context) answer {
	id := uuid.NewString()
	got := ask(ctx, http.MethodPost, o.server.url+"/api/reputation/agent-0/events", o.token,
		fmt.Sprintf(`{"type":"quality_signal","score":0.5,"event_id":%q}`, id))
	if got.status == http.StatusCreated {
		o.known.mu.Lock()
		o.known.events[id] = true
		o.known.mu.Unlock()
	}
	return got
}

func (o *outage) spawn(ctx context.Context) answer {
	got := ask(ctx, http.MethodPost, o.server.url+"/api/fleet/spawn", o.token,
		`{"description":"say [[words 3]]","taskType":"docs","repository":"acme/app"}`)
	if id := got.text("taskId"); got.status == http.StatusCreated && id != "" {
		o.known.mu.Lock()
		o.known.tasks[id] = o.token
		o.known.mu.Unlock()
	}
	if got.text("denial_reason") == "tier_limit_exceeded" {
		// While Finn is away tasks wait for their next attempt, and a full fleet is a good answer, too.
		got.status = http.StatusCreated
	}
	return got
}

// well are the statuses of a service that lacks nothing.
func well() map[string]int {
	return map[string]int{
		"live": 200, "ready": 200, "nonce": 200, "token": 200, "ticket": 200, "chat": 200, "new chat": 200, "unseen chat": 404,
		"record": 201, "reputation": 200, "spawn": 201, "fleet status": 200,
	}
}

func but(changes map[string]int) map[string]int {
	all := well()
	maps.Copy(all, changes)
	return all
}

// expect tries each operation until it answers as it should: what is away may be noticed a moment later. No
// answer may take longer than a request may.
func (o *outage) expect(t *testing.T, phase, health string, statuses map[string]int) {
	t.Helper()
	var wg sync.WaitGroup
	for name, do := range o.operations() {
		wg.Go(func() {
			var last answer
			deadline := time.Now().Add(40 * time.Second)
			for time.Now().Before(deadline) {
				began := time.Now()
				last = do(t.Context())
				if took := time.Since(began); took > 25*time.Second {
					t.Errorf("%s: %s took %s", phase, name, took)
				}
				if last.status == statuses[name] {
					if last.status == http.StatusServiceUnavailable && name != "ready" && last.header.Get("Retry-After") == "" {
						t.Errorf("%s: %s: 503 without Retry-After", phase, name)
					}
					return
				}
				select {
				case <-time.After(200 * time.Millisecond):
				case <-t.Context().Done():
				}
			}
			t.Errorf("%s: %s answers %d %s, not %d", phase, name, last.status, last.raw, statuses[name])
		})
	}
	wg.Wait()
	// At a pace: the limit for each address is for these requests too.
	eventually(t, time.Minute, phase+": health is "+health, func() bool {
		return ask(t.Context(), http.MethodGet, o.server.url+"/api/health", "", "").text("status") == health
	})
}

// TestDependenciesAway takes each dependency away in turn, stopped and held still, under a light load, and
// gives it back: what can go on goes on, what cannot says so in time, and all is well again without a restart.
func TestDependenciesAway(t *testing.T) {
	t.Parallel()
	o := startOutage(t)
	o.expect(t, "at first", "healthy", well())
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			o.record(ctx)
			o.chat(ctx, o.session)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	database := map[string]int{
		"ready": 503, "new chat": 503, "unseen chat": 503, "record": 503, "reputation": 503, "spawn": 503, "fleet status": 503,
	}
	shared := map[string]int{"nonce": 503, "ticket": 503}
	backend := map[string]int{"chat": 503, "new chat": 503}
	hold := func(pause func() (func(), error)) func() {
		resume, err := pause()
		if err != nil {
			t.Fatal(err)
		}
		return resume
	}
	restart := func(start func() error) {
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, phase := range []struct {
		name   string
		away   func() (back func())
		health string
		want   map[string]int
	}{
		{"Redis stopped", func() func() {
			o.redis.Kill()
			return func() { restart(o.redis.Start) }
		}, "degraded", but(shared)},
		{"Redis held still", func() func() {
			o.redis.Pause()
			return o.redis.Resume
		}, "degraded", but(shared)},
		{"NATS stopped", func() func() {
			o.nats.stop()
			return o.nats.start
		}, "degraded", well()},
		{"PostgreSQL stopped", func() func() {
			o.postgres.Stop()
			return func() { restart(o.postgres.Start) }
		}, "degraded", but(database)},
		{"PostgreSQL killed", func() func() {
			o.postgres.Kill()
			return func() { restart(o.postgres.Start) }
		}, "degraded", but(database)},
		{"PostgreSQL held still", func() func() { return hold(o.postgres.Pause) }, "degraded", but(database)},
		{"Finn killed", func() func() {
			o.finn.kill()
			return o.finn.start
		}, "unhealthy", but(backend)},
	} {
		began := time.Now()
		back := phase.away()
		o.expect(t, phase.name, phase.health, phase.want)
		back()
		away := time.Since(began)
		o.expect(t, "after "+phase.name, "healthy", well())
		t.Logf("%s: away for %s, well again %s after it was back", phase.name, away.Round(time.Second), (time.Since(began) - away).Round(100*time.Millisecond))
	}
	cancel()
	load.Wait()
	for id, token := range o.known.tasks {
		awaitTerminal(t, o.server.url, token, id)
	}
	// What was about to be published when the database went is handed out again within three minutes.
	eventually(t, 4*time.Minute, "each admission is told", func() bool { return o.nats.toldAll(t, o.known) })
	o.server.stop(t)
	if out, err := command(t, o.binary, o.database, "reputation", "verify"); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
	o.known.check(t, o.database)
	o.nats.check(t, o.known)
	t.Logf("%d events and %d tasks were acknowledged", len(o.known.events), len(o.known.tasks))
}

// TestStopWhileTheDatabaseHangs: SIGTERM ends the server with 0 within its time, whatever hangs.
func TestStopWhileTheDatabaseHangs(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	server := serve(t, build(t, "dixie/examples/staging-server"), "DATABASE_URL="+own.URL())
	resume, err := own.Pause()
	if err != nil {
		t.Fatal(err)
	}
	defer resume()
	eventually(t, time.Minute, "/readyz is 503", func() bool {
		return ask(t.Context(), http.MethodGet, server.url+"/readyz", "", "").status == http.StatusServiceUnavailable
	})
	began := time.Now()
	server.stop(t)
	t.Logf("ended %s after SIGTERM", time.Since(began).Round(100*time.Millisecond))
}
