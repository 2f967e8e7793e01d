package main_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dixie/internal/wallet"
)

const (
	stackOrigin   = "https://app.example"
	stackAdminKey = "the-admin-key-of-the-stack"
)

// finnProcess is a Finn of its own, on one port through all its lives.
type finnProcess struct {
	t      *testing.T
	binary string
	port   string
	env    []string
	cmd    *exec.Cmd
}

func startFinn(t *testing.T, env ...string) *finnProcess {
	t.Helper()
	f := &finnProcess{t: t, binary: build(t, "dixie/examples/local-finn"), port: freePort(t), env: env}
	f.start()
	t.Cleanup(f.kill)
	return f
}

func (f *finnProcess) url() string { return "http://127.0.0.1:" + f.port }

func (f *finnProcess) start() {
	f.t.Helper()
	f.cmd = exec.CommandContext(context.WithoutCancel(f.t.Context()), f.binary, "-port", f.port, "-word-delay", "20ms")
	f.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, f.env...)
	if err := f.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	eventually(f.t, time.Minute, "Finn answers", func() bool {
		response, err := http.Get(f.url() + "/healthz")
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil && response.StatusCode == http.StatusOK
	})
}

func (f *finnProcess) kill() {
	_ = f.cmd.Process.Kill()
	_ = f.cmd.Wait()
}

// eventually asks again and again, without a load worth mentioning.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(within)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// stagingEnv is what a replica of a staging deployment is told.
func stagingEnv(t *testing.T, database, redis, finn string, wallets ...wallet.Key) []string {
	t.Helper()
	addresses := make([]string, len(wallets))
	for i, key := range wallets {
		addresses[i] = string(key.Address())
	}
	list, err := json.Marshal(map[string]any{"version": 1, "wallets": addresses, "apiKeys": []string{}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "allowlist.json")
	if err := os.WriteFile(path, list, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"DIXIE_ENV=staging", "DIXIE_HOST=127.0.0.1", "DATABASE_URL=" + database, "REDIS_URL=" + redis, "FINN_URL=" + finn,
		"DIXIE_JWT_PRIVATE_KEY=" + strings.Repeat("r", 32), "DIXIE_ADMIN_KEY=" + stackAdminKey,
		"DIXIE_CORS_ORIGINS=" + stackOrigin, "DIXIE_ALLOWLIST_PATH=" + path,
		"DIXIE_AUTONOMOUS_BUDGET=100000000",
	}
}

func newWallets(t *testing.T, n int) []wallet.Key {
	t.Helper()
	keys := make([]wallet.Key, n)
	for i := range keys {
		key, err := wallet.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	return keys
}

// roundRobin passes each request to the next server.
func roundRobin(t *testing.T, servers ...*running) string {
	t.Helper()
	var next atomic.Uint64
	targets := make([]*url.URL, len(servers))
	for i, server := range servers {
		target, err := url.Parse(server.url)
		if err != nil {
			t.Fatal(err)
		}
		targets[i] = target
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(targets[next.Add(1)%uint64(len(targets))])
	}})
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// answer is what came back; status 0 is none.
type answer struct {
	status int
	header http.Header
	fields map[string]any
	raw    string
}

func (a answer) text(field string) string {
	s, _ := a.fields[field].(string)
	return s
}

// ask sends a request to a service that may be away.
func ask(ctx context.Context, method, target, token, body string) answer {
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return answer{raw: err.Error()}
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{raw: err.Error()}
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{raw: err.Error()}
	}
	a := answer{status: response.StatusCode, header: response.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &a.fields)
	return a
}

// signedMessage is the body of a sign-in with a nonce of the server at base.
func signedMessage(t *testing.T, base string, key wallet.Key) string {
	t.Helper()
	nonce := ask(t.Context(), http.MethodGet, base+"/api/auth/nonce", "", "")
	if nonce.status != http.StatusOK {
		t.Fatalf("nonce: %d %s", nonce.status, nonce.raw)
	}
	message := wallet.SignInMessage{
		Domain: strings.TrimPrefix(stackOrigin, "https://"), URI: stackOrigin, Address: key.Address(),
		Nonce: nonce.text("nonce"), IssuedAt: time.Now(),
	}.String()
	signature, err := key.SignMessage(message)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"message": message, "signature": signature})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func signIn(t *testing.T, base string, key wallet.Key) string {
	t.Helper()
	got := ask(t.Context(), http.MethodPost, base+"/api/auth/siwe", "", signedMessage(t, base, key))
	if got.status != http.StatusOK {
		t.Fatalf("sign in: %d %s", got.status, got.raw)
	}
	return got.text("token")
}
