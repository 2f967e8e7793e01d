package dixie_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"dixie"
	"dixie/finn"
	"dixie/internal/wallet"
)

func TestTwoHandlersShareNothing(t *testing.T) {
	t.Parallel()
	one, two := start(t, nil), start(t, nil)
	tokens := [2]string{one.token(), two.token()}
	want(t, "a token of the other", two.do(http.MethodGet, "/api/auth/verify", tokens[0], ""), http.StatusUnauthorized, "unauthorized")
	var wg sync.WaitGroup
	var good atomic.Int32
	for i := range 40 {
		s := []*service{one, two}[i%2]
		wg.Go(func() {
			if s.do(http.MethodPost, "/api/chat", tokens[i%2], `{"prompt":"x"}`).status == http.StatusOK {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	if good.Load() != 40 {
		t.Errorf("%d of 40 turns succeeded", good.Load())
	}
}

func TestFinnAway(t *testing.T) {
	t.Parallel()
	s := start(t, nil, dixie.WithFinn(finn.Config{URL: "http://127.0.0.1:1"}))
	token := s.token()
	for range 5 {
		want(t, "no answer", s.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`), http.StatusServiceUnavailable, "upstream_error")
	}
	open := s.do(http.MethodPost, "/api/chat", token, `{"prompt":"x"}`)
	want(t, "circuit", open, http.StatusServiceUnavailable, "circuit_open")
	if open.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	health := s.do(http.MethodGet, "/api/health", "", "")
	if health.field("status") != "unhealthy" || !bytes.Contains(health.body, []byte(`"circuit_state":"open"`)) {
		t.Errorf("health: %s", health.body)
	}
	want(t, "ready all the same", s.do(http.MethodGet, "/readyz", "", ""), http.StatusOK, "")
}

func TestLogsTellNoSecrets(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var logs bytes.Buffer
	s := start(t, nil, dixie.WithLogger(slog.New(slog.NewJSONHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return logs.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))))
	key, err := wallet.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	token, _ := s.signIn(key).field("token").(string)
	s.do(http.MethodPost, "/api/chat", token, `{"prompt":"prompt-secret"}`)
	s.do(http.MethodPost, "/api/fleet/spawn", token, spawnBody("prompt-secret"))
	s.do(http.MethodPost, "/api/reputation/agent/events", token, qualitySignal(0.5, ""))
	s.do(http.MethodPost, "/api/fleet/spawn", token, `{"maxRetries":`+strings.Repeat("7", 50_000)+`}`)
	s.do(http.MethodPost, "/api/chat", token, `{"prompt":"prompt-secret [[fail]]"}`)
	s.do(http.MethodDelete, "/api/admin/allowlist/"+string(wallet.TestAddress), adminKey, "")
	s.do(http.MethodGet, "/api/"+string(wallet.TestAddress), "dxk_secret_key", "")
	mu.Lock()
	defer mu.Unlock()
	for _, secret := range []string{
		token, "prompt-secret", string(key.Address()), strings.ToLower(string(key.Address())), strings.Repeat("7", 1000),
		string(wallet.TestAddress), adminKey, "dxk_secret_key",
	} {
		if bytes.Contains(logs.Bytes(), []byte(secret)) {
			t.Errorf("the log holds %q", secret)
		}
	}
	if !bytes.Contains(logs.Bytes(), []byte(`"path":"/api/admin/allowlist/{entry}"`)) {
		t.Error("the log does not name routes")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
