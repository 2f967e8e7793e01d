package main_test

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The secrets have shapes that the routes take. What else there is begins and ends with Zq.
const (
	chosenRequestID = "ZqRequestIdZq"
	clientTraceID   = "4bf92f3577b34da6a3ce929d0e0e4736"
	forwardedFor    = "203.0.113.77"
	listedKey       = "dxk_ZqListedKeyZq"
	unknownKey      = "dxk_ZqUnknownKeyZq"
	otherWallet     = "0xde709f2102306220921060314715629080e2fb77"
	headerWallet    = "0x27b1fdb04752bbc536007a920d24acb045561c26"
	eventID         = "6d7f3a52-93f1-4c6e-9d1b-5a2b8f4c7e10"
	credentialID    = "b2c4e6a8-1357-4d9f-8ace-02468bdf1357"
	wrongTicket     = "wst_0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"
)

// probe is a request. What it does not say is filled with secrets.
type probe struct {
	method, path, authorization, body string
	// base is the server, if not the usual one.
	base   string
	header map[string]string
}

func spawnBody() string {
	return `{"description":"ZqDescriptionZq [[words 2]]","taskType":"docs","repository":"ZqRepositoryZq/app","baseBranch":"ZqBranchZq",` +
		`"model":"ZqModelZq","contextOverrides":{"ZqOverrideZq":"ZqContextZq"},"operatorId":"ZqOperatorZq","maxRetries":0}`
}

func eventBodies() []string {
	return []string{
		`{"type":"quality_signal","score":0.8,"task_type":"zqspacezq:zqtaskzq","dimensions":{"zqdimensionzq":0.5},"event_id":"` + eventID + `"}`,
		`{"type":"model_performance","model_id":"ZqModelIdZq","provider":"ZqProviderZq","pool_id":"ZqPoolZq","task_type":"zqspacezq:zqtaskzq",` +
			`"collection_id":"ZqCollectionZq","quality_observation":{"score":0.7,"evaluated_by":"ZqEvaluatorZq","dimensions":{"zqdimensionzq":0.4}}}`,
		`{"type":"task_completed","task_type":"zqspacezq:zqtaskzq","success":true}`,
		`{"type":"credential_update","credential_id":"` + credentialID + `","action":"issued"}`,
	}
}

// bodies are what each operation takes; those that take none get something all the same.
func bodies() map[string][]string {
	return map[string][]string{
		"signIn": {
			`{"message":"ZqMessageZq","signature":"ZqSignatureZq"}`,
			`{"message":"ZqDomainZq.example wants you to sign in with your Ethereum account:\n` + otherWallet + `\n\nZqStatementZq\n\n` +
				`URI: https://ZqDomainZq.example\nVersion: 1\nChain ID: 1\nNonce: ZqNonceZqZqNonceZq\nIssued At: 2026-02-26T12:00:00Z","signature":"0x` +
				strings.Repeat("5e", 65) + `"}`,
		},
		"addAllowlistEntry": {`{"type":"ZqEntryTypeZq","value":"ZqEntryZq"}`, `{"type":"wallet","value":"ZqEntryZq"}`},
		"sendChat":          {`{"prompt":"ZqPromptZq","sessionId":"ZqSessionZq"}`, `{"prompt":"ZqPromptZq","sessionId":"ZqSessionZq has blanks"}`},
		"recordReputation": {
			eventBodies()[0],
			`{"type":"ZqEventTypeZq","score":0.5,"event_id":"ZqEventIdZq"}`,
			`{"type":"quality_signal","score":7,"task_type":"ZqTaskZq","dimensions":{"ZqDimensionZq":3}}`,
			`{"type":"quality_signal","score":0.5,"dimensions":{"zqdimensionzq":"ZqValueZq"},"timestamp":"ZqTimeZq"}`,
		},
		"spawnTask": {
			spawnBody(),
			`{"description":"ZqDescriptionZq","taskType":"ZqTaskZq","repository":"ZqRepositoryZq"}`,
			`{"description":"ZqDescriptionZq","taskType":"docs","repository":"ZqRepositoryZq","agentType":"ZqAgentTypeZq"}`,
			`{"description":"ZqDescriptionZq","taskType":"docs","repository":"ZqRepositoryZq","baseBranch":"ZqBranchZq ZqBranchZq"}`,
		},
		"checkAdmission": {`{"resource_type":"ZqResourceZq","taskType":"ZqTaskZq"}`, spawnBody()},
	}
}

// twisted bodies are no JSON, or not what a route expects; they repeat a secret where a decoder may quote it.
func twisted() []string {
	fields := map[string]any{}
	for _, name := range []string{
		"message", "signature", "type", "value", "prompt", "sessionId", "description", "taskType", "repository", "score", "event_id",
		"dimensions", "model_id", "resource_type",
	} {
		fields[name] = []any{"ZqTwistedZq", map[string]any{"ZqTwistedZq": "ZqTwistedZq"}}
	}
	object, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return []string{
		`{"prompt":"ZqBrokenZq`, `ZqBrokenZq`, `"ZqBrokenZq"`, `{"ZqBrokenZq":1,}`, string(object),
		`{"score":"ZqTwistedZq","maxRetries":"ZqTwistedZq","type":"quality_signal","dimensions":"ZqTwistedZq"}`,
		"{\"prompt\":\"ZqBrokenZq \xff\"}", strings.Repeat("[", 80) + `"ZqBrokenZq"`, `{"prompt":"ZqLongZq` + strings.Repeat(" ", 101<<10) + `"}`,
	}
}

func hostileHeader() http.Header {
	h := http.Header{}
	for name, value := range map[string]string{
		"User-Agent": "ZqUserAgentZq/1.0", "Traceparent": "00-" + clientTraceID + "-00f067aa0ba902b7-01", "Tracestate": "zq=ZqTraceStateZq",
		"Baggage": "who=ZqBaggageZq", "X-Request-Id": chosenRequestID, "X-Wallet-Address": headerWallet, "X-Conviction-Tier": "ZqTierZq",
		"X-Conviction-Source": "ZqSourceZq", "X-Model-Pool": "ZqModelPoolZq", "X-Memory-Context": "ZqMemoryZq", "X-Response-Model": "ZqResponseModelZq",
		"X-Agent-Owner": "ZqOwnerZq", "X-Agent-Tba": "ZqTbaZq", "X-Operator-Id": "ZqOperatorIdZq", "X-Operator-Zq": "ZqOperatorHeaderZq",
		"X-Admin-Key": "ZqScopeZq", "X-Payment": "ZqPaymentZq", "X-Api-Key": "ZqApiKeyZq", "Origin": "https://ZqOriginZq.example",
		"Referer": "https://ZqRefererZq.example/", "Cookie": "session=ZqCookieZq", "X-Forwarded-For": forwardedFor,
		"Forwarded": "for=ZqForwardedZq", "X-Real-Ip": "ZqRealIpZq", "Idempotency-Key": "ZqIdempotencyZq", "Accept-Language": "ZqLanguageZq",
		"Last-Event-Id": "ZqLastEventZq", "Content-Type": "application/json; note=ZqContentTypeZq", "X-Idempotency-Key": "ZqInnerKeyZq",
		"Access-Control-Request-Method": "ZqPreflightZq", "Access-Control-Request-Headers": "X-ZqPreflightZq", "X-Zqheadernamezq": "ZqHeaderValueZq",
	} {
		h.Set(name, value)
	}
	return h
}

// everywhere is every operation as everybody, its twisted bodies, and methods and paths that there are not.
func (l *leaks) everywhere() []probe {
	all := l.withToken()
	credentials := []string{
		"", "Bearer ZqHeaderPartZq.ZqPayloadPartZq.ZqSignaturePartZq", "Bearer " + l.token[:len(l.token)-8] + "ZqForged", "Bearer " + unknownKey,
		"Bearer dxk_ZqBadKeyZq ZqBadKeyZq", "Bearer " + stackAdminKey, "Bearer ZqWrongAdminZq", stackAdminKey, "Basic ZqBasicZq", "ZqSchemeZq ZqParameterZq",
	}
	for _, operation := range l.operations {
		body := `{"note":"ZqNoteZq"}`
		if own := bodies()[operation.ID]; len(own) > 0 {
			body = own[0]
		}
		path := hostilePath(operation.Template)
		for _, credential := range credentials {
			all = append(all, probe{method: operation.Method, path: path, authorization: credential, body: body})
		}
		for _, method := range []string{"ZQMETHODZQ", http.MethodOptions, http.MethodHead, http.MethodTrace, http.MethodPatch} {
			all = append(all, probe{method: method, path: path, authorization: "Bearer " + l.token})
		}
	}
	for _, path := range []string{"/ZqPathZq", "/api/ZqPathZq", "//ZqPathZq", "/api/../ZqPathZq", "/api/fleet/tasks/ZqTaskIdZq/ZqPathZq", "/metrics/ZqPathZq"} {
		all = append(all, probe{method: http.MethodGet, path: path, authorization: "Bearer " + l.token})
	}
	return all
}

// withToken is every operation as the wallet that signed in, and the fleet with the operator's key beside it.
func (l *leaks) withToken() []probe {
	var all []probe
	for _, operation := range l.operations {
		as, path := "Bearer "+l.token, hostilePath(operation.Template)
		if strings.HasPrefix(path, "/api/admin/") {
			as = "Bearer " + stackAdminKey
		}
		own := slices.Clone(bodies()[operation.ID])
		if operation.Method == http.MethodPost {
			own = append(own, twisted()...)
		}
		for _, body := range append(own, "") {
			all = append(all, probe{method: operation.Method, path: path, authorization: as, body: body})
		}
		all = append(all, probe{
			method: operation.Method, path: path, authorization: as,
			header: map[string]string{"X-Admin-Key": stackAdminKey, "X-Request-Id": "ZqBadIdZq with blanks"},
		})
	}
	return all
}

// towardsFinn is what makes the service ask Finn.
func (l *leaks) towardsFinn() []probe {
	as := "Bearer " + l.token
	own := `{"prompt":"ZqPromptZq","sessionId":"` + l.session + `"}`
	return []probe{
		{method: http.MethodPost, path: "/api/chat", authorization: as, body: own},
		{method: http.MethodPost, path: "/api/chat", authorization: as, body: `{"prompt":"ZqPromptZq"}`},
		{method: http.MethodPost, path: "/api/chat", authorization: as, body: own, header: map[string]string{"Accept": "text/event-stream"}},
		{method: http.MethodGet, path: "/api/sessions", authorization: as},
		{method: http.MethodGet, path: "/api/sessions/" + l.session, authorization: as},
		{method: http.MethodPost, path: "/api/fleet/spawn", authorization: as, body: spawnBody()},
		{method: http.MethodGet, path: "/api/health"},
	}
}

var parameters = regexp.MustCompile(`\{(\w+)\}`)

// hostilePath fills the parameters of a template with secrets, and adds a query.
func hostilePath(template string) string {
	return parameters.ReplaceAllString(template, "ZqIn${1}Zq") + "?ticket=" + wrongTicket + "&routingKey=nft:ZqRoutingZq&ZqQueryNameZq=ZqQueryZq&tail=ZqTailZq"
}

// send sends a request full of secrets.
func (l *leaks) send(t *testing.T, p probe) answer {
	t.Helper()
	// A route waits 15 s at most, and a turn is short.
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, p.method, cmp.Or(p.base, l.server.url)+p.path, strings.NewReader(p.body))
	if err != nil {
		t.Error(err)
		return answer{}
	}
	r.Header = hostileHeader()
	if p.authorization != "" {
		r.Header.Set("Authorization", p.authorization)
	}
	for name, value := range p.header {
		r.Header.Set(name, value)
	}
	response, err := (&http.Client{Transport: l.raw}).Do(r)
	if err != nil {
		t.Errorf("%s %s: %v", p.method, p.path, err)
		return answer{}
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("%s %s: %v", p.method, p.path, err)
	}
	a := answer{status: response.StatusCode, header: response.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &a.fields)
	return a
}

// drive sends requests, a few at a time, all of which get past the rate limit.
func (l *leaks) drive(t *testing.T, phase string, probes ...probe) {
	t.Helper()
	began := time.Now()
	next := make(chan probe)
	var clients sync.WaitGroup
	for range 6 {
		clients.Go(func() {
			for p := range next {
				if got := l.send(t, p); got.text("message") == "Too many requests" {
					t.Errorf("%s: %s %s: %d %s", phase, p.method, p.path, got.status, got.raw)
				}
			}
		})
	}
	for _, p := range probes {
		next <- p
	}
	close(next)
	clients.Wait()
	t.Logf("%s: %d requests in %s", phase, len(probes), time.Since(began).Round(time.Millisecond))
}

// garble sends what is no HTTP, which the server itself refuses.
func (l *leaks) garble(t *testing.T) {
	t.Helper()
	for _, text := range []string{
		"ZqGarbageZq\r\n\r\n", "GET /ZqRawTargetZq HTTP/1.1\r\nHost: x\r\nZqRawHeaderZq\r\n\r\n",
		"GET /ZqRawTargetZq HTTP/ZqVersionZq\r\n\r\n", "POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: ZqLengthZq\r\n\r\n",
		"POST /api/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ZqEncodingZq\r\n\r\n",
		"GET /livez?%zz=ZqRawQueryZq;ZqRawQueryZq HTTP/1.1\r\nHost: ZqHostZq\r\nConnection: close\r\n\r\n",
	} {
		l.raw.span("garbage", text)
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(l.server.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Error(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Logf("%q: %v", text, err)
		}
		_ = conn.Close()
	}
}
