package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"dixie/e2e"
	"dixie/internal/wallet"
)

// TestHealth is T3.1 and SM-2: 200, healthy, every dependency present and healthy, in under a minute.
func TestHealth(t *testing.T) {
	s := service(t)
	health, answer := e2e.Read[e2e.Health](t, s, http.StatusOK, e2e.Request{Method: http.MethodGet, Path: "/api/health"})
	if health.Status != "healthy" {
		answer.Fatalf(t, "the status is %q", health.Status)
	}
	everything := maps.Clone(health.Infrastructure)
	maps.Copy(everything, health.Services)
	for _, name := range []string{"dixie", "loa_finn", "postgresql", "redis", "nats"} {
		if dependency, ok := everything[name]; !ok || dependency.Status != "healthy" {
			answer.Fatalf(t, "%s: %+v, present: %v", name, dependency, ok)
		}
	}
	t.Logf("healthy %s after %s (SM-2: %s at most)", shared.untilHealthy.Round(time.Millisecond), shared.since, e2e.StartLimit)
}

// TestSignIn is T3.2: a nonce is issued, a JWT comes back, and its wallet is the test wallet.
func TestSignIn(t *testing.T) {
	s := service(t)
	key := e2e.HardhatKey(t)
	s.Admit(t, key)
	signed := s.SignedMessage(t, key)
	request := e2e.Request{Method: http.MethodPost, Path: "/api/auth/siwe", Body: signed}
	signedIn, answer := e2e.Read[e2e.Caller](t, s, http.StatusOK, request)
	parts := strings.Split(signedIn.Token, ".")
	if len(parts) != 3 {
		answer.Fatalf(t, "the token is not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		answer.Fatalf(t, "the token's claims are not base64: %v", err)
	}
	var claims struct {
		Sub    string `json:"sub"`
		Wallet string `json:"wallet"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		answer.Fatalf(t, "the token's claims are not JSON: %v", err)
	}
	if want := string(wallet.TestAddress); claims.Wallet != want || claims.Sub != want || signedIn.Wallet != want {
		answer.Fatalf(t, "wallet %s, claims %+v, want %s", signedIn.Wallet, claims, want)
	}
	verified, answer := e2e.Read[e2e.Caller](t, s, http.StatusOK,
		e2e.Request{Method: http.MethodGet, Path: "/api/auth/verify", Token: signedIn.Token})
	if verified.Wallet != string(wallet.TestAddress) {
		answer.Fatalf(t, "the token stands for %s", verified.Wallet)
	}
	s.Want(t, http.StatusUnauthorized, request) // The nonce is used up.
}

// TestChat is T3.3: as JSON and as a stream, the answer has a word that only Finn can have said.
func TestChat(t *testing.T) {
	s := service(t)
	caller := s.NewCaller(t)
	session := chat(t, s, caller, "")
	streamedChat(t, s, caller, session)
}

// word is one that nobody has said before.
func word() string { return "word" + strings.ReplaceAll(uuid.NewString(), "-", "") }

// riddle is a prompt, and the word that answers it, which the prompt does not have: dixie, which knows the prompt,
// cannot say it. A model does as it is told, and the local Finn takes its directives out of what it repeats.
func riddle() (prompt, answer string) {
	answer = word()
	half := len(answer) / 2
	return "Answer with one word and nothing else: this one, without the double brackets and what is between them: " +
		answer[:half] + "[[tool join]]" + answer[half:], answer
}

// says reports whether the answer of a riddle is in a text, however Finn has spelt it.
func says(text, answer string) bool { return strings.Contains(strings.ToLower(text), answer) }

// chat runs a turn, in a new session if it is empty, and returns the session.
func chat(t *testing.T, s *e2e.Service, caller e2e.Caller, session string) string {
	t.Helper()
	prompt, said := riddle()
	turn, answer := e2e.Read[struct{ SessionID, Response string }](t, s, http.StatusOK, chatRequest(caller, session, prompt))
	if !says(turn.Response, said) || turn.SessionID == "" || session != "" && turn.SessionID != session {
		answer.Fatalf(t, "Finn's answer has no %s, or the session is another", said)
	}
	return turn.SessionID
}

func streamedChat(t *testing.T, s *e2e.Service, caller e2e.Caller, session string) {
	t.Helper()
	prompt, said := riddle()
	request := chatRequest(caller, session, prompt)
	request.Header = map[string]string{"Accept": "text/event-stream"}
	answer := s.Want(t, http.StatusOK, request)
	if media := answer.Header.Get("Content-Type"); !strings.HasPrefix(media, "text/event-stream") {
		answer.Fatalf(t, "the content type is %q", media)
	}
	var streamed strings.Builder
	var whole string
	events := answer.Events()
	for _, e := range events {
		var data struct {
			Content string `json:"content"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			answer.Fatalf(t, "event %s: %v", e.ID, err)
		}
		switch e.Kind {
		case "chunk":
			streamed.WriteString(data.Content)
		case "done":
			whole = data.Content
		}
	}
	if len(events) == 0 || events[len(events)-1].Kind != "done" || whole != streamed.String() || !says(whole, said) {
		answer.Fatalf(t, "streamed %q, done with %q, want %s in both", streamed.String(), whole, said)
	}
}

func chatRequest(caller e2e.Caller, session, prompt string) e2e.Request {
	body := map[string]string{"prompt": prompt}
	if session != "" {
		body["sessionId"] = session
	}
	return e2e.Request{Method: http.MethodPost, Path: "/api/chat", Token: caller.Token, Body: body}
}

// TestFleet is T3.4: a task id comes back, the task runs within 10 s, and a word that only Finn can have said is in
// its log.
func TestFleet(t *testing.T) {
	s := service(t)
	caller := s.NewCaller(t)
	id := runTask(t, s, caller)
	t.Cleanup(func() { forget(t, s, caller, id) })
}

// task is what the scenarios look at of GET /api/fleet/tasks/{id}.
type task struct {
	Status    string
	CreatedAt time.Time
	History   []struct {
		Status string
		At     time.Time
	}
}

const (
	runningLimit = 10 * time.Second
	// taskLimit is above the longest turn.
	taskLimit = 150 * time.Second
)

// runTask spawns a task, sees it through and returns its id.
func runTask(t *testing.T, s *e2e.Service, caller e2e.Caller) string {
	t.Helper()
	prompt, said := riddle()
	spawned, answer := spawn(t, s, caller, prompt)
	if _, err := uuid.Parse(spawned.TaskID); err != nil {
		answer.Fatalf(t, "the task's id %q: %v", spawned.TaskID, err)
	}
	path := "/api/fleet/tasks/" + spawned.TaskID
	// A short task may have ended before we look; its history tells when it began to run.
	started, answer := awaitTask(t, s, caller, path, runningLimit, "running")
	for _, was := range started.History {
		if took := was.At.Sub(started.CreatedAt); was.Status == "running" && took > runningLimit {
			answer.Fatalf(t, "running after %s, want %s at most", took, runningLimit)
		}
	}
	ended, answer := awaitTask(t, s, caller, path, taskLimit, "completed")
	if ended.Status != "completed" {
		answer.Fatalf(t, "the task went on after its end")
	}
	written, answer := e2e.Read[struct{ TaskID, Logs string }](t, s, http.StatusOK,
		e2e.Request{Method: http.MethodGet, Path: path + "/logs", Token: caller.Token})
	if !says(written.Logs, said) || written.TaskID != spawned.TaskID {
		answer.Fatalf(t, "Finn's %s is not in the log", said)
	}
	return spawned.TaskID
}

type spawned struct {
	TaskID       string `json:"taskId"`
	CostMicroUSD int64  `json:"costMicroUsd"`
}

// spawn gives Finn a task; forget takes it out again.
func spawn(t *testing.T, s *e2e.Service, caller e2e.Caller, prompt string) (spawned, e2e.Answer) {
	t.Helper()
	answer := s.Make(t, http.StatusCreated, e2e.Request{
		Method: http.MethodPost, Path: "/api/fleet/spawn", Token: caller.Token,
		Header: map[string]string{"Idempotency-Key": word()},
		Body:   map[string]string{"description": prompt, "taskType": "docs", "repository": "acme/" + word()},
	}, func(a e2e.Answer) []e2e.Request {
		var made spawned
		if err := json.Unmarshal(a.Body, &made); err != nil || made.TaskID == "" {
			return nil // Nobody knows what to take out.
		}
		stop := e2e.Request{Method: http.MethodPost, Path: "/api/fleet/tasks/" + made.TaskID + "/stop", Token: caller.Token}
		return []e2e.Request{stop, deletion(caller, made.TaskID)}
	})
	return e2e.Decode[spawned](t, answer), answer
}

func deletion(caller e2e.Caller, id string) e2e.Request {
	return e2e.Request{Method: http.MethodDelete, Path: "/api/fleet/tasks/" + id, Token: caller.Token}
}

// forget waits for the end of a task and deletes it.
func forget(t *testing.T, s *e2e.Service, caller e2e.Caller, id string) {
	t.Helper()
	awaitTask(t, s, caller, "/api/fleet/tasks/"+id, taskLimit, "completed")
	s.TakeOut(t, deletion(caller, id))
}

// awaitTask waits until a state is in the task's history.
func awaitTask(t *testing.T, s *e2e.Service, caller e2e.Caller, path string, limit time.Duration, status string) (task, e2e.Answer) {
	t.Helper()
	deadline := time.After(limit)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		now, answer := e2e.Read[task](t, s, http.StatusOK, e2e.Request{Method: http.MethodGet, Path: path, Token: caller.Token})
		for _, was := range now.History {
			if was.Status == status {
				return now, answer
			}
		}
		if slices.Contains([]string{"completed", "merged", "abandoned", "cancelled"}, now.Status) {
			answer.Fatalf(t, "the task has ended without having been %s", status)
		}
		select {
		case <-time.After(pause):
		case <-deadline:
			answer.Fatalf(t, "not %s within %s", status, limit)
		}
	}
}

// reputation is what must be the same before and after a restart.
type reputation struct {
	EMA         float64 `json:"ema"`
	Score       float64 `json:"score"`
	SampleCount int     `json:"sample_count"`
	State       string  `json:"state"`
}

// TestReputation is T3.5 and SM-3: what was recorded is read, and read again after a restart.
func TestReputation(t *testing.T) {
	s := service(t)
	caller := s.NewCaller(t)
	agent := word()
	recorded := record(t, s, caller, agent)
	restart(t, s, caller)
	readAgain(t, s, caller, agent, recorded)
}

// readAgain reads an agent, which must be as it was recorded.
func readAgain(t *testing.T, s *e2e.Service, caller e2e.Caller, agent string, recorded reputation) {
	t.Helper()
	now, answer := e2e.Read[reputation](t, s, http.StatusOK,
		e2e.Request{Method: http.MethodGet, Path: "/api/reputation/" + agent, Token: caller.Token})
	if diff := cmp.Diff(recorded, now); diff != "" {
		answer.Fatalf(t, "another value was recorded (-recorded +read)\n%s", diff)
	}
}

// record records two observations of an agent and reads what came of them.
func record(t *testing.T, s *e2e.Service, caller e2e.Caller, agent string) reputation {
	t.Helper()
	var recorded reputation
	for _, observed := range []struct{ score, ema float64 }{{0.8, 0.8}, {0.6, 0.7784}} {
		var answer e2e.Answer
		recorded, answer = e2e.Read[reputation](t, s, http.StatusCreated, e2e.Request{
			Method: http.MethodPost, Path: "/api/reputation/" + agent + "/events", Token: caller.Token,
			Body: map[string]any{"type": "quality_signal", "score": observed.score, "event_id": uuid.NewString()},
		})
		if math.Abs(recorded.EMA-observed.ema) > 1e-12 {
			answer.Fatalf(t, "the average is %v, want %v", recorded.EMA, observed.ema)
		}
		readAgain(t, s, caller, agent, recorded)
	}
	return recorded
}

// restart restarts dixie, waits until it is healthy and makes sure that it is another process.
func restart(t *testing.T, s *e2e.Service, caller e2e.Caller) {
	t.Helper()
	began, answer := s.ProcessStart(t)
	before := time.Now()
	if err := s.Restart(t.Context()); err != nil {
		answer.Fatalf(t, "dixie was asked this, and then not restarted: %v", err)
	}
	_, took, err := s.WaitHealthy(shared.context(t), caller.Token, e2e.RestartLimit)
	if err != nil {
		t.Fatal(err) // With the last exchange and the end of the log.
	}
	t.Logf("restarted in %s, of which %s until healthy", time.Since(before).Round(time.Millisecond), took.Round(time.Millisecond))
	if again, answer := s.ProcessStart(t); again <= began {
		answer.Fatalf(t, "dixie's process began at %.2f, and before the restart at %.2f: it was not restarted", again, began)
	}
}

// admission is what POST /api/governance/admission answers.
type admission struct {
	Decision string
	Active   int
	Budget   struct{ Limit, Spent, Remaining int64 }
}

// TestGovernance is T3.6: there is a decision, and the budget is lower after a spawn.
func TestGovernance(t *testing.T) {
	s := service(t)
	spend(t, s, s.NewCaller(t))
}

// spend compares the budget before and after a spawn.
func spend(t *testing.T, s *e2e.Service, caller e2e.Caller) {
	t.Helper()
	for {
		day := time.Now().UTC().Day()
		before, _ := ask(t, s, caller)
		made, _ := spawn(t, s, caller, "Answer with one word.")
		t.Cleanup(func() { forget(t, s, caller, made.TaskID) })
		after, answer := ask(t, s, caller)
		if day != time.Now().UTC().Day() {
			continue // A new day has a new budget.
		}
		if made.CostMicroUSD <= 0 || after.Budget.Remaining != before.Budget.Remaining-made.CostMicroUSD ||
			after.Budget.Spent != before.Budget.Spent+made.CostMicroUSD {
			answer.Fatalf(t, "a spawn for %d: the budget was %+v", made.CostMicroUSD, before.Budget)
		}
		return
	}
}

func ask(t *testing.T, s *e2e.Service, caller e2e.Caller) (admission, e2e.Answer) {
	t.Helper()
	judged, answer := e2e.Read[admission](t, s, http.StatusOK, e2e.Request{
		Method: http.MethodPost, Path: "/api/governance/admission", Token: caller.Token, Body: map[string]string{"taskType": "docs"},
	})
	if judged.Decision != "admit" {
		answer.Fatalf(t, "the decision is %q", judged.Decision)
	}
	return judged, answer
}

const clientsAtOnce = 5

// TestManyClients has five wallets do all of it at once, restarts dixie under their feet, and has each find
// what is its own, and nothing of another's.
func TestManyClients(t *testing.T) {
	s := service(t)
	type client struct {
		caller               e2e.Caller
		agent, session, task string
		recorded             reputation
	}
	clients := make([]client, clientsAtOnce)
	for i := range clients {
		clients[i].caller, clients[i].agent = s.NewCaller(t), word()
	}
	t.Cleanup(func() {
		for _, c := range clients {
			if c.task != "" {
				forget(t, s, c.caller, c.task)
			}
		}
	})
	each := func(phase string, do func(t *testing.T, c, neighbour *client)) {
		t.Run(phase, func(t *testing.T) {
			for i := range clients {
				t.Run(fmt.Sprintf("client %d", i), func(t *testing.T) {
					t.Parallel()
					do(t, &clients[i], &clients[(i+1)%len(clients)])
				})
			}
		})
	}
	each("before the restart", func(t *testing.T, c, _ *client) {
		t.Helper()
		s.Want(t, http.StatusOK, e2e.Request{Method: http.MethodGet, Path: "/api/health", Token: c.caller.Token})
		c.session = chat(t, s, c.caller, "")
		streamedChat(t, s, c.caller, c.session)
		c.recorded = record(t, s, c.caller, c.agent)
		spend(t, s, c.caller)
		c.task = runTask(t, s, c.caller)
	})
	if t.Failed() {
		return
	}
	restart(t, s, clients[0].caller)
	each("after the restart", func(t *testing.T, c, neighbour *client) {
		t.Helper()
		readAgain(t, s, c.caller, c.agent, c.recorded)
		chat(t, s, c.caller, c.session)
		s.Want(t, http.StatusNotFound, chatRequest(neighbour.caller, c.session, word()))
		look := e2e.Request{Method: http.MethodGet, Path: "/api/fleet/tasks/" + c.task, Token: c.caller.Token}
		if kept, answer := e2e.Read[task](t, s, http.StatusOK, look); kept.Status != "completed" {
			answer.Fatalf(t, "the task is %s", kept.Status)
		}
		look.Token = neighbour.caller.Token
		s.Want(t, http.StatusNotFound, look)
	})
}
