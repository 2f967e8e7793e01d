package httpapi_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dixie/governance"
	"dixie/internal/apitest"
	"dixie/internal/auth"
	"dixie/internal/httpapi"
	"dixie/internal/ratelimit"
	"dixie/internal/wallet"
	"dixie/spansanitizer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	origin = "http://localhost:3001"
	secret = "a secret of thirty-two bytes!!!!"
)

// edge is the whole chain around the routes that need neither Finn nor a fleet. Every answer is checked
// against the description.
type edge struct {
	http.Handler

	signIn *auth.SIWE
}

// describe loads the description once; that takes longer than a test.
var describe = sync.OnceValues(func() (*apitest.Spec, error) { //nolint:gochecknoglobals // It is read-only.
	description, err := os.ReadFile("../../openapi.yaml")
	if err != nil {
		return nil, err
	}
	return apitest.Load(description)
})

func setup(t *testing.T, change ...func(*httpapi.Config)) *edge {
	t.Helper()
	spec, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.NewHS256([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	signIn, err := auth.NewSIWE(auth.SIWEConfig{Origins: []string{origin}}, auth.NewMemoryNonces(0))
	if err != nil {
		t.Fatal(err)
	}
	cfg := httpapi.Config{
		Version: "test", Logger: slog.New(slog.DiscardHandler), Origins: []string{origin},
		Limiter: ratelimit.NewMemory(0), SignIn: signIn, Tokens: tokens,
		Allowlist: auth.NewOpenAllowlist(), Audit: auth.NewAudit(slog.New(slog.DiscardHandler), spansanitizer.Hash),
		Tickets: auth.NewTickets(auth.NewMemoryTickets()), Tiers: governance.NewResolver(governance.ResolverConfig{}),
	}
	for _, c := range change {
		c(&cfg)
	}
	return &edge{spec.Handler(t, httpapi.New(cfg)), signIn}
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
}

func (a answer) field(name string) string {
	var fields map[string]any
	_ = json.Unmarshal(a.Body.Bytes(), &fields)
	text, _ := fields[name].(string)
	return text
}

// do sends a request; headers come in pairs. The header From, if there is one, is the socket's address.
func (e *edge) do(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "From" {
			r.RemoteAddr = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	return answer{w}
}

func (e *edge) nonce(t *testing.T) string {
	t.Helper()
	nonce := e.do(t, http.MethodGet, "/api/auth/nonce", "").field("nonce")
	if nonce == "" {
		t.Fatal("no nonce")
	}
	return nonce
}

func sign(t *testing.T, text string) string {
	t.Helper()
	key, err := wallet.ParseKey(wallet.TestKey)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := key.SignMessage(text)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func message(nonce string) wallet.SignInMessage {
	return wallet.SignInMessage{
		Domain: "localhost:3001", URI: origin, Address: wallet.TestAddress, Nonce: nonce, IssuedAt: time.Now(),
	}
}

// present sends a signed message.
func (e *edge) present(t *testing.T, text, signature string) answer {
	t.Helper()
	body, err := json.Marshal(map[string]string{"message": text, "signature": signature})
	if err != nil {
		t.Fatal(err)
	}
	return e.do(t, http.MethodPost, "/api/auth/siwe", string(body))
}

// token signs the test's wallet in.
func (e *edge) token(t *testing.T) string {
	t.Helper()
	text := message(e.nonce(t)).String()
	token := e.present(t, text, sign(t, text)).field("token")
	if token == "" {
		t.Fatal("no token")
	}
	return token
}
