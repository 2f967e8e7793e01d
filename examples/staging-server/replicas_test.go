package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"dixie/internal/wallet"
)

// replicas are servers on one database, one Redis and one Finn, and the address that hands requests to them
// in turn.
type replicas struct {
	servers []*running
	url     string
	wallets []wallet.Key
}

const replicaRate = 120

func startReplicas(t *testing.T, n, wallets int) *replicas {
	t.Helper()
	binary := build(t, "dixie/examples/staging-server")
	r := &replicas{wallets: newWallets(t, wallets)}
	env := append(stagingEnv(t, postgres.Database(t), redis.Database(t), startFinn(t).url(), r.wallets...),
		fmt.Sprintf("DIXIE_RATE_LIMIT_RPM=%d", replicaRate))
	for range n {
		r.servers = append(r.servers, serve(t, binary, env...))
	}
	r.url = roundRobin(t, r.servers...)
	return r
}

// TestReplicas runs three processes that are one service to those who use it.
func TestReplicas(t *testing.T) {
	t.Parallel()
	r := startReplicas(t, 3, 8)
	t.Cleanup(func() {
		for _, server := range r.servers {
			server.stop(t)
		}
	})
	for name, test := range map[string]func(t *testing.T){
		"nonce":       func(t *testing.T) { r.nonceIsGoodOnce(t, r.wallets[0]) },
		"spawn":       func(t *testing.T) { r.spawnsKeepTheLimit(t, r.wallets[1]) },
		"idempotency": func(t *testing.T) { r.sameKeyIsTheSameTask(t, r.wallets[2]) },
		"session":     func(t *testing.T) { r.sessionsAreEverywhere(t, r.wallets[3], r.wallets[4]) },
		"ticket":      func(t *testing.T) { r.ticketsAndEventsAreEverywhere(t, r.wallets[5]) },
		"allowlist":   func(t *testing.T) { r.removalIsEverywhere(t, r.wallets[6]) },
		"rate":        func(t *testing.T) { r.limitHoldsAcross(t, r.wallets[7]) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// nonceIsGoodOnce: it comes from one replica, and of nine sign-ins at once on all of them one succeeds.
func (r *replicas) nonceIsGoodOnce(t *testing.T, key wallet.Key) {
	t.Helper()
	body := signedMessage(t, r.servers[0].url, key)
	var good, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 9 {
		wg.Go(func() {
			switch got := ask(t.Context(), http.MethodPost, r.servers[i%3].url+"/api/auth/siwe", "", body); got.status {
			case http.StatusOK:
				good.Add(1)
			case http.StatusUnauthorized:
				refused.Add(1)
			default:
				t.Errorf("%d %s", got.status, got.raw)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 || refused.Load() != 8 {
		t.Errorf("%d signed in, %d refused", good.Load(), refused.Load())
	}
}

func (r *replicas) spawnsKeepTheLimit(t *testing.T, key wallet.Key) {
	t.Helper()
	token := signIn(t, r.url, key)
	var admitted, denied atomic.Int32
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			// Longer than all of them may take: a task that ends makes room for another.
			body := `{"description":"[[sleep 5m]]","taskType":"docs","repository":"acme/app"}`
			switch got := ask(t.Context(), http.MethodPost, r.url+"/api/fleet/spawn", token, body); {
			case got.status == http.StatusCreated:
				admitted.Add(1)
				t.Cleanup(func() {
					stop := r.url + "/api/fleet/tasks/" + got.text("taskId") + "/stop"
					if stopped := ask(context.WithoutCancel(t.Context()), http.MethodPost, stop, token, ""); stopped.status != http.StatusOK {
						t.Errorf("stop: %d %s", stopped.status, stopped.raw)
					}
				})
			case got.status == http.StatusForbidden && got.text("denial_reason") == "tier_limit_exceeded":
				denied.Add(1)
			default:
				t.Errorf("%d %s", got.status, got.raw)
			}
		})
	}
	wg.Wait()
	if admitted.Load() != 3 || denied.Load() != 57 {
		t.Errorf("%d admitted, %d denied", admitted.Load(), denied.Load())
	}
}

func (r *replicas) sameKeyIsTheSameTask(t *testing.T, key wallet.Key) {
	t.Helper()
	token := signIn(t, r.url, key)
	var ids []string
	for range 3 {
		_, fields := post(t.Context(), r.url+"/api/fleet/spawn", token, "one-key",
			`{"description":"[[sleep 2s]]","taskType":"docs","repository":"acme/app"}`)
		id, _ := fields["taskId"].(string)
		ids = append(ids, id)
	}
	if ids[0] == "" || len(slices.Compact(ids)) != 1 {
		t.Errorf("tasks %v", ids)
	}
}

// sessionsAreEverywhere: a session that was made on one replica streams on the others, to its owner alone.
func (r *replicas) sessionsAreEverywhere(t *testing.T, owner, stranger wallet.Key) {
	t.Helper()
	token, other := signIn(t, r.url, owner), signIn(t, r.url, stranger)
	made := ask(t.Context(), http.MethodPost, r.servers[0].url+"/api/chat", token, `{"prompt":"hello"}`)
	id := made.text("sessionId")
	if made.status != http.StatusOK || id == "" {
		t.Fatalf("%d %s", made.status, made.raw)
	}
	for _, server := range r.servers[1:] {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.url+"/api/chat",
			strings.NewReader(`{"prompt":"a b c","sessionId":"`+id+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set("Accept", "text/event-stream")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kinds = append(kinds, kind)
			}
		}
		_ = response.Body.Close()
		if len(kinds) < 4 || kinds[0] != "model_selection" || kinds[len(kinds)-1] != "done" {
			t.Errorf("events %v", kinds)
		}
		got := ask(t.Context(), http.MethodPost, server.url+"/api/chat", other, `{"prompt":"a","sessionId":"`+id+`"}`)
		if got.status != http.StatusNotFound {
			t.Errorf("a stranger gets %d %s", got.status, got.raw)
		}
	}
}

// ticketsAndEventsAreEverywhere: a ticket of one replica opens a socket on another, once, and the socket
// shows the turns that the third runs.
func (r *replicas) ticketsAndEventsAreEverywhere(t *testing.T, key wallet.Key) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	token := signIn(t, r.url, key)
	id := ask(ctx, http.MethodPost, r.servers[0].url+"/api/chat", token, `{"prompt":"first"}`).text("sessionId")
	ticket := ask(ctx, http.MethodPost, r.servers[0].url+"/api/ws/ticket", token, "").text("ticket")
	path := "/ws/chat/" + id + "?ticket=" + ticket
	conn, _, err := websocket.Dial(ctx, strings.Replace(r.servers[1].url, "http", "ws", 1)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	_, response, err := websocket.Dial(ctx, strings.Replace(r.servers[2].url, "http", "ws", 1)+path, nil)
	if err == nil || response.StatusCode != http.StatusUnauthorized {
		t.Errorf("the ticket is good twice: %v %v", response, err)
	}
	if got, want := readTurn(ctx, t, conn), []string{"model_selection", "chunk", "done"}; !cmp.Equal(got, want) {
		t.Errorf("events of the turn before, on another replica: %v", got)
	}
	if got := ask(ctx, http.MethodPost, r.servers[2].url+"/api/chat", token, `{"prompt":"[[words 6]]","sessionId":"`+id+`"}`); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.raw)
	}
	got := readTurn(ctx, t, conn)
	if chunks := len(got) - 2; chunks != 6 || got[0] != "model_selection" {
		t.Errorf("events of a turn on another replica: %v", got)
	}
}

// readTurn returns the types of a turn's events.
func readTurn(ctx context.Context, t *testing.T, conn *websocket.Conn) (types []string) {
	t.Helper()
	for {
		_, raw, err := conn.Read(ctx)
		if err != nil {
			t.Fatalf("after %v: %v", types, err)
		}
		var e struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		if types = append(types, e.Type); e.Type == "done" {
			return types
		}
	}
}

// removalIsEverywhere: a wallet that an admin takes off the list on one replica is out on all soon. That a second is
// soon enough for most is shown where nothing else is measured, in auth/postgres.
func (r *replicas) removalIsEverywhere(t *testing.T, key wallet.Key) {
	t.Helper()
	token := signIn(t, r.url, key)
	status := func(server *running) int {
		return ask(t.Context(), http.MethodGet, server.url+"/api/sessions", token, "").status
	}
	for _, server := range r.servers {
		if got := status(server); got != http.StatusOK {
			t.Fatalf("before: %d", got)
		}
	}
	removed := ask(t.Context(), http.MethodDelete, r.servers[0].url+"/api/admin/allowlist/"+string(key.Address()), stackAdminKey, "")
	if removed.status != http.StatusOK {
		t.Fatalf("%d %s", removed.status, removed.raw)
	}
	if got := status(r.servers[0]); got != http.StatusForbidden {
		t.Errorf("on the replica that was asked: %d", got)
	}
	for _, server := range r.servers[1:] {
		eventually(t, 10*time.Second, "the wallet is out", func() bool { return status(server) == http.StatusForbidden })
	}
}

// limitHoldsAcross sends more than twice the limit to all replicas in turn, and wants the limit to be let through, give or
// take a tenth. It begins in a young minute, and what a busy machine needs of the next one counts as one more.
func (r *replicas) limitHoldsAcross(t *testing.T, key wallet.Key) {
	t.Helper()
	const clients, each = 8, 45
	token := signIn(t, r.url, key)
	eventually(t, 40*time.Second, "a minute that is young", func() bool { return time.Now().Second() < 35 })
	began := time.Now().Truncate(time.Minute)
	var admitted atomic.Int32
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range each {
				switch got := ask(t.Context(), http.MethodGet, r.url+"/api/auth/verify", token, ""); got.status {
				case http.StatusOK:
					admitted.Add(1)
				case http.StatusTooManyRequests:
					if got.header.Get("Retry-After") == "" {
						t.Error("429 without Retry-After")
					}
				default:
					t.Errorf("%d %s", got.status, got.raw)
				}
			}
		})
	}
	wg.Wait()
	minutes := 1 + int32(time.Since(began)/time.Minute)
	if n := admitted.Load(); n < replicaRate*9/10 || n > minutes*replicaRate*11/10 {
		t.Errorf("%d of %d were let through in %d minutes, the limit is %d", n, clients*each, minutes, replicaRate)
	}
}
