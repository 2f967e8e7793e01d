package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/testserver"
)

// programs are those of this module that the tests have built, each once: linking one takes seconds.
type programs struct {
	folder string
	mu     sync.Mutex
	paths  map[string]func() (string, error) // GUARDED_BY(mu)
}

// build compiles a program of this module: `go run` does not pass signals on.
func build(t *testing.T, program string) string {
	t.Helper()
	built.mu.Lock()
	path, ok := built.paths[program]
	if !ok {
		path = sync.OnceValues(func() (string, error) {
			path := filepath.Join(built.folder, filepath.Base(program))
			//nolint:usetesting // It is not the first test's alone.
			out, err := exec.CommandContext(context.Background(), "go", "build", "-o", path, program).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("build %s: %w\n%s", program, err, out)
			}
			return path, err
		})
		built.paths[program] = path
	}
	built.mu.Unlock()
	file, err := path()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// running is a started server.
type running struct {
	url    string
	cmd    *exec.Cmd
	stderr *bytes.Buffer // Its logs too; to be read when it has exited.
	exited chan error
}

func serve(t *testing.T, binary string, env ...string) *running {
	t.Helper()
	port := freePort(t)
	r := &running{url: "http://localhost:" + port, stderr: &bytes.Buffer{}, exited: make(chan error, 1)}
	r.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), binary)
	r.cmd.Env = append([]string{"DIXIE_PORT=" + port, "PATH=" + os.Getenv("PATH")}, env...)
	r.cmd.Stdout, r.cmd.Stderr = r.stderr, r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.exited <- r.cmd.Wait() }()
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	const limit = time.Minute
	deadline := time.After(limit)
	for {
		response, err := http.Get(r.url + "/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return r
			}
		}
		select {
		case <-tick.C:
		case err := <-r.exited:
			t.Fatalf("the server ended: %v\n%s", err, r.stderr)
		case <-deadline:
			t.Fatalf("the server is not ready after %s", limit)
		}
	}
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.exited:
		if err != nil {
			t.Errorf("exit after SIGTERM: %v\n%s", err, r.stderr)
		}
	case <-time.After(30 * time.Second):
		_ = r.cmd.Process.Signal(syscall.SIGQUIT) // It tells what it waits for.
		if err := <-r.exited; err == nil {
			t.Error("it ended just then")
		}
		t.Errorf("still running 30 s after SIGTERM\n%s", r.stderr)
	}
}

var tried = regexp.MustCompile("(?s)<!-- try -->\n```sh\n(.*?)```\n\n```(?:json|text)\n(.*?)```")

// TestReadmeSequence runs what the README tells a newcomer to run and compares the answers' shape.
func TestReadmeSequence(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	server := serve(t, build(t, "dixie/examples/staging-server"))
	login := build(t, "dixie/examples/siwe-login")
	blocks := tried.FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 5 {
		t.Fatalf("%d blocks to try", len(blocks))
	}
	var commands strings.Builder
	for _, b := range blocks {
		commands.WriteString("printf '\\036'\n" + b[1])
	}
	script := strings.NewReplacer(
		"http://localhost:3001", server.url, "go run ./examples/siwe-login", login+" -url "+server.url,
	).Replace(commands.String())
	out, err := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(string(out), "\x1e")[1:]
	for i, b := range blocks {
		if strings.HasPrefix(b[2], "id: ") {
			_, first, _ := strings.Cut(strings.TrimSpace(b[2]), "\n") // Ids differ from run to run.
			if !strings.Contains(answers[i], first) || !strings.Contains(answers[i], "event: done") {
				t.Errorf("%s\nanswered\n%s", b[1], answers[i])
			}
			continue
		}
		if diff := cmp.Diff(shape(t, b[2]), shape(t, answers[i])); diff != "" {
			t.Errorf("%s\n%s", b[1], diff)
		}
	}
	server.stop(t)
}

// shape is the fields of a JSON object, with those below them.
func shape(t *testing.T, text string) []string {
	t.Helper()
	var value map[string]any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(value)) {
		fields = append(fields, name)
		if below, ok := value[name].(map[string]any); ok {
			for _, inner := range slices.Sorted(maps.Keys(below)) {
				fields = append(fields, name+"."+inner)
			}
		}
	}
	return fields
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	binary := build(t, "dixie/examples/staging-server")
	server := serve(t, binary)
	check := func() error {
		cmd := exec.CommandContext(t.Context(), binary, "healthcheck")
		cmd.Env = []string{"DIXIE_PORT=" + server.url[strings.LastIndex(server.url, ":")+1:]}
		return cmd.Run()
	}
	if err := check(); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	server.stop(t)
	if err := check(); err == nil {
		t.Error("healthy although it has stopped")
	}
}

// TestDrainLetsAStreamEnd stops the server in the middle of an answer.
func TestDrainLetsAStreamEnd(t *testing.T) {
	t.Parallel()
	server := serve(t, build(t, "dixie/examples/staging-server"))
	login := exec.CommandContext(t.Context(), build(t, "dixie/examples/siwe-login"), "-url", server.url)
	token, err := login.Output()
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.url+"/api/chat", strings.NewReader(`{"prompt":"[[words 30]]"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	// The header comes with the first event, so the answer has begun.
	if err := server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(body.String(), "event: chunk"); n != 30 || !strings.Contains(body.String(), "event: done") {
		t.Errorf("%d chunks came:\n%s", n, body.String())
	}
	if err := <-server.exited; err != nil {
		t.Errorf("exit: %v", err)
	}
}

// wantRefused starts a server that must end with status 1, and whose log must say why, without a secret, in lines of
// level ERROR.
func wantRefused(t *testing.T, binary, name string, env, says []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = append([]string{"DIXIE_PORT=0"}, env...)
	logged, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%s: %v", name, err)
	}
	var texts []string
	for line := range bytes.Lines(logged) {
		var entry map[string]any
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Errorf("%s: not a line of the log: %s", name, line)
		}
		if entry["level"] == "ERROR" {
			texts = append(texts, fmt.Sprint(entry["msg"], entry["problem"], entry["error"]))
		}
	}
	for _, text := range says {
		if !strings.Contains(strings.Join(texts, "\n"), text) {
			t.Errorf("%s: %q is not in\n%s", name, text, logged)
		}
	}
	if strings.Contains(string(logged), "hunter2") {
		t.Errorf("%s: the password is shown\n%s", name, logged)
	}
}

func TestBadConfigurationIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	binary := build(t, "dixie/examples/staging-server")
	for name, tc := range map[string]struct {
		env  []string
		says []string
	}{
		"production, bare": {
			[]string{"DIXIE_ENV=production"},
			[]string{"FINN_URL is required", "DIXIE_JWT_PRIVATE_KEY is required", "DIXIE_ADMIN_KEY is required", "DATABASE_URL is required"},
		},
		"unknown environment": {[]string{"NODE_ENV=moon"}, []string{`NODE_ENV is "moon"`}},
		"open to the network": {[]string{"DIXIE_HOST=0.0.0.0"}, []string{"loopback", "DIXIE_ALLOWLIST_PATH"}},
		"host, poll": {
			[]string{"DIXIE_HOST=nohost.invalid", "DIXIE_ALLOWLIST_POLL=true"},
			[]string{`DIXIE_HOST is "nohost.invalid"`, `DIXIE_ALLOWLIST_POLL is "true"`},
		},
		"short hash key": {[]string{"DIXIE_TRACE_HASH_KEY=short"}, []string{"DIXIE_TRACE_HASH_KEY"}},
		"short secret":   {[]string{"DIXIE_JWT_PRIVATE_KEY=short"}, []string{"5 bytes"}},
		"URL":            {[]string{"FINN_URL=finn"}, []string{"FINN_URL must be a URL"}},
		"servers": {
			[]string{"DATABASE_URL=mysql://u:hunter2@h/d", "REDIS_URL=http://u:hunter2@h", "NATS_URL=nats://u:hunter2@h:4222/x"},
			[]string{"DATABASE_URL must be a URL", "REDIS_URL must be a URL", "NATS_URL must be nats://"},
		},
		"NATS list": {[]string{"NATS_URL=nats://u:hunter2@h,"}, []string{"not usable", "NATS_URL must be nats://"}},
		"Redis before the database": {
			[]string{"DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/d", "REDIS_URL=redis://u:hunter2@h/nine"},
			[]string{"REDIS_URL: redis: the URL's path"},
		},
		"no database": {
			[]string{"DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/d"},
			[]string{"the database of DATABASE_URL cannot be brought up to date", "connection refused", "start PostgreSQL, or correct the host"},
		},
		"everything at once": {
			[]string{"LOG_LEVEL=loud", "DIXIE_TRUSTED_PROXIES=x", "DIXIE_CORS_ORIGINS=nope,https://a.example/path", "DIXIE_ADMIN_KEY=dxk_12345678"},
			[]string{"LOG_LEVEL", "DIXIE_TRUSTED_PROXIES", `"nope"`, `"https://a.example/path"`, "DIXIE_ADMIN_KEY"},
		},
	} {
		wantRefused(t, binary, name, tc.env, tc.says)
	}
}
