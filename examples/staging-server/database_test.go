package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"dixie/internal/pgtest"
	"dixie/internal/redistest"
)

//nolint:gochecknoglobals // What this package's tests share.
var (
	postgres *pgtest.Pool
	redis    *redistest.Pool
	built    = programs{paths: make(map[string]func() (string, error))}
)

func TestMain(m *testing.M) {
	var err error
	if built.folder, err = os.MkdirTemp("", "dixie-programs-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	postgres = pgtest.Main(m)
	redis = redistest.Main(postgres)
	code := redis.Run()
	_ = os.RemoveAll(built.folder)
	os.Exit(code)
}

// login signs in with a wallet of its own.
func login(t *testing.T, program, url string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, "-new", "-url", url).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func request(t *testing.T, method, url, token, body string) (status int, fields map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return response.StatusCode, fields
}

// command runs a command of the server on a database and returns what it printed.
func command(t *testing.T, binary, database string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = []string{"DATABASE_URL=" + database}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestReputationSurvives is T3.5 and SM-3: what a server acknowledged is there after it was killed, for one
// that starts anew, and so is the owner of a chat session.
func TestReputationSurvives(t *testing.T) {
	t.Parallel()
	database := postgres.Database(t)
	binary, siwe := build(t, "dixie/examples/staging-server"), build(t, "dixie/examples/siwe-login")
	secret := "DIXIE_JWT_PRIVATE_KEY=" + strings.Repeat("s", 32)

	first := serve(t, binary, "DATABASE_URL="+database, secret)
	token := login(t, siwe, first.url)
	var recorded map[string]any
	for i := range 20 {
		status, fields := request(t, http.MethodPost, first.url+"/api/reputation/oracle-1/events", token,
			fmt.Sprintf(`{"type":"quality_signal","score":%v}`, float64(i%7)/7))
		if status != http.StatusCreated {
			t.Fatalf("record: %d %v", status, fields)
		}
		recorded = fields
	}
	_, answer := request(t, http.MethodPost, first.url+"/api/chat", token, `{"prompt":"hello"}`)
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-first.exited; err == nil {
		t.Error("the server ended by itself")
	}

	second := serve(t, binary, "DATABASE_URL="+database, secret)
	_, read := request(t, http.MethodGet, second.url+"/api/reputation/oracle-1", token, "")
	for _, field := range []string{"ema", "score", "sample_count", "state"} {
		if read[field] != recorded[field] {
			t.Errorf("%s is %v after the restart, was %v", field, read[field], recorded[field])
		}
	}
	stranger := login(t, siwe, second.url)
	path := fmt.Sprintf("%s/api/sessions/%s", second.url, answer["sessionId"])
	if status, _ := request(t, http.MethodGet, path, stranger, ""); status != http.StatusNotFound {
		t.Errorf("a stranger gets %d for another's session after a restart", status)
	}
	_, health := request(t, http.MethodGet, second.url+"/api/health", token, "")
	if infrastructure := fmt.Sprint(health["infrastructure"]); !strings.Contains(infrastructure, "postgresql:map[") || health["status"] != "healthy" {
		t.Errorf("health: %v", health)
	}
	second.stop(t)

	if out, err := command(t, binary, database, "reputation", "verify"); err != nil || !strings.HasPrefix(out, "20 events, 1 agents\neverything") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if out, err := command(t, binary, database, "reputation", "rebuild"); err != nil || out != "1 agents computed anew\n" {
		t.Errorf("rebuild: %v\n%s", err, out)
	}
}

func TestMigrateCommand(t *testing.T) {
	t.Parallel()
	database := postgres.Database(t)
	binary := build(t, "dixie/examples/staging-server")
	for _, step := range []struct {
		args []string
		says string
		fail bool
	}{
		{[]string{"migrate", "status"}, "no", false},
		{[]string{"migrate", "up"}, "up dixie 1 00001_reputation.sql", false},
		{[]string{"migrate", "up"}, "nothing to do", false},
		{[]string{"migrate", "status"}, "yes", false},
		{[]string{"migrate", "down", "1"}, "down dixie", false},
		{[]string{"migrate", "down", "100"}, "down river", false},
		{[]string{"migrate", "down"}, "down N", true},
		{[]string{"migrate", "down", "-1"}, "number of migrations", true},
		{[]string{"migrate"}, "up, down N or status", true},
		{[]string{"reputation"}, "verify or rebuild", true},
		{[]string{"reputation", "verify"}, "reputation_", true},
	} {
		out, err := command(t, binary, database, step.args...)
		if (err != nil) != step.fail || !strings.Contains(out, step.says) {
			t.Errorf("%v: %v\n%s", step.args, err, out)
		}
	}
	if out, err := command(t, binary, "", "migrate", "up"); err == nil || !strings.Contains(out, "DATABASE_URL is not set") {
		t.Errorf("without a database: %v\n%s", err, out)
	}
}

// TestDatabaseAwayAtTheStart: the server says what is wrong, without the password, and does not serve.
func TestDatabaseAwayAtTheStart(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), build(t, "dixie/examples/staging-server"))
	cmd.Env = []string{"DIXIE_PORT=" + freePort(t), "DATABASE_URL=postgres://dixie:secret@127.0.0.1:1/x?connect_timeout=1"}
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("DATABASE_URL")) || bytes.Contains(out, []byte("secret")) {
		t.Errorf("%v\n%s", err, out)
	}
}
