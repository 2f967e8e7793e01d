package main_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"dixie"
	"dixie/internal/apitest"
	"dixie/internal/otlptest"
	"dixie/internal/pgtest"
	"dixie/internal/redistest"
	"dixie/internal/wallet"
)

// leaks is a deployment with secrets, and what they are.
type leaks struct {
	*quotingProxy

	collector *otlptest.Collector
	raw       *rawTracing
	postgres  *pgtest.Server
	redis     *redistest.Server
	finn      *finnProcess
	server    *running
	// env is what the server was told, and unsanitised waits for the program without the sanitiser.
	env         []string
	unsanitised func(*testing.T) string
	operations  []apitest.Operation
	key         wallet.Key
	// said are the secrets that clients send, beside those that are known by their shape; held are those that nobody sends.
	said, held []string
	// token is the wallet's; session and task are its own.
	token, session, task string
}

// TestNothingLeaks is T4.3 and T4.4 with real processes: every route of the description, in success and in failure,
// with a secret in every text that a client controls. Then every byte that the collector got, the whole log at its most
// talkative, and what Prometheus is shown are searched for each of the secrets. The same program with the sanitiser taken
// out shows that the search would find them (see switchSanitiserOff).
//
// The exceptions, which are contracts: the log names requests by the id that the caller chose, if it has the shape of
// one; the client's trace id is continued, so it is none of the secrets; tasks are named by the ids that they were given.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	l := startLeaks(t)

	l.succeed(t)
	l.drive(t, "well", l.everywhere()...)
	l.garble(t)
	l.switchSanitiserOff(t)
	// Finn quotes whatever it was told in its errors, and then fails until the circuit is open.
	l.quoting.Store(true)
	l.drive(t, "Finn quotes", slices.Repeat(l.towardsFinn(), 4)...)
	l.quoting.Store(false)
	l.finn.kill()
	l.drive(t, "Finn is away", l.everywhere()...)
	eventually(t, time.Minute, "the circuit is open", func() bool {
		l.drive(t, "Finn is away", l.towardsFinn()...)
		return circuitOpen.MatchString(l.metrics(t))
	})
	l.redis.Kill()
	l.postgres.Kill()
	l.drive(t, "the stores are away", l.withToken()...)
	metrics := l.metrics(t)
	l.server.stop(t)
	log := l.server.stderr.Bytes()

	l.provesTheSearch(t)
	l.reachedEverything(t, log, metrics)
	for _, secret := range otlptest.Leaks(l.collector.Bytes(), l.all()...) {
		t.Errorf("exported: %q%s", secret, l.firstSpanWith(secret))
	}
	if found := otlptest.Leaks([]byte(metrics), append(l.all(), clientTraceID)...); len(found) > 0 {
		t.Errorf("metrics tell %q:\n%s", found, metrics)
	}
	for _, secret := range otlptest.Leaks(log, l.logged()...) {
		t.Errorf("the log tells %q: %s", secret, firstLineWith(log, secret))
	}
}

// firstSpanWith says where a secret is; nothing if it is in no field of a span.
func (l *leaks) firstSpanWith(secret string) string {
	for _, span := range l.collector.Spans() {
		if text := fmt.Sprintf(" in %+v", span); len(otlptest.Leaks([]byte(text), secret)) > 0 {
			return text
		}
	}
	return ""
}

func firstLineWith(log []byte, secret string) string {
	for line := range bytes.Lines(log) {
		if len(otlptest.Leaks(line, secret)) > 0 {
			return string(line)
		}
	}
	return "only in the whole of it"
}

var circuitOpen = regexp.MustCompile(`(?m)^dixie_finn_circuit_state\{.*state="open".*\} 1$`)

// provesTheSearch looks for the same secrets where they must be: in spans that the test makes of the very same requests
// (see [rawTracing]), sent through the same kind of exporter to a collector of its own. It proves that each of them was
// sent by a client, that OTLP does not hide them from the search, and that the search knows the forms in which they
// appear; that the sanitiser keeps them back is shown by [leaks.switchSanitiserOff]. What is never sent by a client is found in a span that is made for it.
func (l *leaks) provesTheSearch(t *testing.T) {
	t.Helper()
	l.raw.span("held by the server", l.held...)
	l.raw.stop(t)
	exported := l.raw.collector.Bytes()
	found := otlptest.Leaks(exported, l.all()...)
	for _, secret := range l.all() {
		if !slices.Contains(found, secret) {
			t.Errorf("%q is not found although nothing is sanitised", secret)
		}
	}
	t.Logf("%d secrets in %d requests", len(found), len(l.raw.collector.Spans()))
}

// reachedEverything holds against a search in nothing: each route, each kind of span and each kind of failure is there.
func (l *leaks) reachedEverything(t *testing.T, log []byte, metrics string) {
	t.Helper()
	routes, names, statuses, circuit := map[string]bool{}, map[string]bool{}, map[int64]bool{}, map[any]bool{}
	for _, span := range l.collector.Spans() {
		names[span.Name] = true
		circuit[span.Attributes["circuit_state"]] = true
		if url, ok := span.Attributes["url"].(string); ok {
			routes[url] = true
		}
		if status, ok := span.Attributes["status_code"].(int64); ok {
			statuses[status] = true
		}
	}
	for _, operation := range l.operations {
		if !routes[operation.Template] {
			t.Errorf("no span of %s", operation.Template)
		}
		if !bytes.Contains(log, []byte(`"path":"`+operation.Template+`"`)) {
			t.Errorf("no line in the log about %s", operation.Template)
		}
		if !strings.Contains(metrics, `http_route="`+operation.Template+`"`) {
			t.Errorf("no metric of %s", operation.Template)
		}
	}
	if routes["other"] || !routes["unmatched"] {
		t.Errorf("routes in spans: %q", slices.Sorted(maps.Keys(routes)))
	}
	for _, name := range []string{
		"dixie.request", "dixie.auth", "dixie.finn.inference", "dixie.reputation.update", "dixie.fleet.spawn",
		"dixie.governance.check", "finn.request",
	} {
		if !names[name] {
			t.Errorf("no span %s", name)
		}
	}
	for _, status := range []int64{101, 200, 201, 400, 401, 403, 404, 405, 502, 503} {
		if !statuses[status] {
			t.Errorf("no span of an answer %d", status)
		}
	}
	if !circuit["open"] || !circuit["closed"] {
		t.Errorf("states of the circuit in spans: %v", circuit)
	}
	if n := l.quoted.Load(); n < int64(len(quotingStatuses())) {
		t.Errorf("Finn quoted in %d answers only", n)
	}
	if !bytes.Contains(log, []byte(chosenRequestID)) {
		t.Error("the log does not name requests by the caller's id: the exception is none")
	}
}

// all are the secrets that no span and no metric may tell.
func (l *leaks) all() []string { return append(l.logged(), chosenRequestID) }

// logged are the secrets that the log may not tell.
func (l *leaks) logged() []string {
	words := slices.DeleteFunc(l.raw.secrets(), func(word string) bool { return word == chosenRequestID })
	return slices.Concat(words, l.said, l.held)
}

func startLeaks(t *testing.T) *leaks {
	t.Helper()
	const signingKey, finnToken = "ZqSigningKeyThatIsLongEnoughToSignZq", "ZqTokenOfFinnZq"
	spec, err := apitest.Load(dixie.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	l := &leaks{
		collector: otlptest.Start(t), raw: startRawTracing(t), postgres: pgtest.Start(t), redis: redistest.Start(t),
		operations: spec.Operations(), key: newWallets(t, 1)[0], unsanitised: beginUnsanitised(t),
		held: []string{signingKey, finnToken},
	}
	l.said = []string{
		string(l.key.Address()), stackAdminKey, forwardedFor, listedKey, unknownKey, otherWallet, headerWallet, eventID, credentialID, wrongTicket,
		mailAddress, foreignToken,
	}
	endpoint := "OTEL_EXPORTER_OTLP_ENDPOINT=" + l.collector.Endpoint()
	l.finn = startFinn(t, endpoint, "OTEL_BSP_SCHEDULE_DELAY=50", "FINN_AUTH_TOKEN="+finnToken, "HOST=127.0.0.1")
	l.quotingProxy = startQuotingProxy(t, l.finn.url())
	l.env = append(stagingEnv(t, l.postgres.URL(), l.redis.URL(), l.url, l.key),
		"DIXIE_JWT_PRIVATE_KEY="+signingKey, "FINN_AUTH_TOKEN="+finnToken, endpoint, "OTEL_BSP_SCHEDULE_DELAY=50",
		"LOG_LEVEL=debug", "DIXIE_RATE_LIMIT_RPM=10000", "DIXIE_TRUSTED_PROXIES=127.0.0.0/8,::1/128")
	l.server = serve(t, build(t, "dixie/examples/staging-server"), l.env...)

	signedIn := signedMessage(t, l.server.url, l.key)
	_, nonce, _ := strings.Cut(signedIn, "Nonce: ")
	nonce, _, _ = strings.Cut(nonce, `\n`)
	_, signature, _ := strings.Cut(signedIn, `"signature":"`)
	signature, _, _ = strings.Cut(signature, `"`)
	got := l.send(t, probe{method: http.MethodPost, path: "/api/auth/siwe", body: signedIn})
	if l.token = got.text("token"); l.token == "" || nonce == "" || signature == "" {
		t.Fatalf("sign in: %d %s", got.status, got.raw)
	}
	l.said = append(l.said, nonce, signature, l.token)
	return l
}

func (l *leaks) metrics(t *testing.T) string {
	t.Helper()
	status, text := scrapeWith(t, l.server.url, "Bearer "+stackAdminKey)
	if status != http.StatusOK {
		t.Fatalf("metrics: %d %s", status, text)
	}
	return text
}

// succeed does what each route is there for, with the secrets where they belong.
func (l *leaks) succeed(t *testing.T) {
	t.Helper()
	as := "Bearer " + l.token
	want := func(status int, p probe) answer {
		t.Helper()
		if p.authorization == "" {
			p.authorization = as
		}
		got := l.send(t, p)
		if got.status != status {
			t.Errorf("%s %s: %d, want %d: %s", p.method, p.path, got.status, status, got.raw)
		}
		return got
	}
	chat := want(http.StatusOK, probe{method: http.MethodPost, path: "/api/chat", body: `{"prompt":"ZqPromptZq [[tool ZqToolZq]]"}`})
	l.session = chat.text("sessionId")
	if len(l.session) > 12 {
		l.said = append(l.said, l.session)
	}
	want(http.StatusOK, probe{
		method: http.MethodPost, path: "/api/chat", body: fmt.Sprintf(`{"prompt":"ZqPromptZq","sessionId":%q}`, l.session),
		header: map[string]string{"Accept": "text/event-stream"},
	})
	want(http.StatusBadGateway, probe{
		method: http.MethodPost, path: "/api/chat", body: fmt.Sprintf(`{"prompt":"ZqPromptZq [[fail]]","sessionId":%q}`, l.session),
		header: map[string]string{"Accept": "text/event-stream"},
	})
	want(http.StatusBadGateway, probe{method: http.MethodPost, path: "/api/chat", body: `{"prompt":"ZqPromptZq [[fail]]"}`})
	want(http.StatusOK, probe{method: http.MethodGet, path: "/api/sessions"})
	want(http.StatusOK, probe{method: http.MethodGet, path: "/api/sessions/" + l.session})

	admin := "Bearer " + stackAdminKey
	for _, entry := range []string{`{"type":"apiKey","value":"` + listedKey + `"}`, `{"type":"wallet","value":"` + otherWallet + `"}`} {
		want(http.StatusCreated, probe{method: http.MethodPost, path: "/api/admin/allowlist", authorization: admin, body: entry})
	}
	want(http.StatusOK, probe{method: http.MethodGet, path: "/api/sessions", authorization: "Bearer " + listedKey})
	for _, entry := range []string{listedKey, otherWallet} {
		want(http.StatusOK, probe{method: http.MethodDelete, path: "/api/admin/allowlist/" + entry, authorization: admin})
	}

	spawned := want(http.StatusCreated, probe{
		method: http.MethodPost, path: "/api/fleet/spawn", body: spawnBody(),
		header: map[string]string{"Idempotency-Key": "ZqAnotherIdempotencyZq"},
	})
	l.task = spawned.text("taskId")
	for _, p := range []probe{
		{method: http.MethodGet, path: "/api/fleet/tasks/" + l.task}, {method: http.MethodGet, path: "/api/fleet/tasks/" + l.task + "/logs"},
		{method: http.MethodGet, path: "/api/fleet/status"}, {method: http.MethodPost, path: "/api/governance/admission", body: spawnBody()},
	} {
		want(http.StatusOK, p)
	}
	for _, body := range eventBodies() {
		want(http.StatusCreated, probe{method: http.MethodPost, path: "/api/reputation/ZqAgentZq/events", body: body})
	}
	for _, path := range []string{"/api/reputation/ZqAgentZq", "/api/reputation/ZqAgentZq/cohorts", "/api/reputation/query?routingKey=nft:ZqAgentZq"} {
		want(http.StatusOK, probe{method: http.MethodGet, path: path})
	}
	l.converse(t)
}

// converse uses a ticket up in a socket, and says something in it.
func (l *leaks) converse(t *testing.T) {
	t.Helper()
	ticket := l.send(t, probe{method: http.MethodPost, path: "/api/ws/ticket", authorization: "Bearer " + l.token}).text("ticket")
	if ticket == "" {
		t.Fatal("no ticket")
	}
	l.said = append(l.said, ticket)
	path := "/ws/chat/" + l.session + "?ticket=" + ticket
	header := hostileHeader()
	header.Del("Origin")
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(l.server.url, "http", "ws", 1)+path,
		&websocket.DialOptions{HTTPClient: &http.Client{Transport: l.raw}, HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	l.raw.span("frame", "ZqFrameZq")
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ZqFrameZq","ZqFrameZq":`)); err != nil {
		t.Error(err)
	}
	l.drive(t, "beside a socket", probe{
		method: http.MethodPost, path: "/api/chat", authorization: "Bearer " + l.token,
		body: fmt.Sprintf(`{"prompt":"ZqPromptZq","sessionId":%q}`, l.session),
	})
	_ = conn.Close(websocket.StatusNormalClosure, "ZqReasonZq")
	l.raw.span("close", "ZqReasonZq")
}
