package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// noServer is where nobody listens: a start that comes as far as the network ends there.
const noServer = "postgres://u:hunter2@127.0.0.1:1/d?connect_timeout=2"

// attempt is a start with nothing but these variables.
type attempt struct {
	// ready says that it listened, and ended in order when it was told to; network that it was kept from that by
	// a server it asked.
	ready, network bool
	problems       []string
	log            string
}

func tryToStart(t *testing.T, binary string, env []string) attempt {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = append([]string{"DIXIE_PORT=0"}, env...)
	var plain bytes.Buffer
	cmd.Stderr = &plain
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var a attempt
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		a.log += lines.Text() + "\n"
		var entry struct {
			Msg     string `json:"msg"`
			Problem string `json:"problem"`
			Error   string `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Errorf("%v: not a line of the log: %s", env, lines.Text())
		}
		switch {
		case entry.Msg == "listening":
			a.ready = true
			_ = cmd.Process.Signal(syscall.SIGTERM)
		case entry.Msg == "the configuration is not usable":
			a.problems = append(a.problems, entry.Problem)
		case strings.Contains(entry.Error, "cannot be brought up to date"):
			a.network = true
		}
	}
	err = cmd.Wait()
	if (err == nil) != a.ready {
		t.Errorf("%v: %v\n%s", env, err, a.log)
	}
	if text := plain.String(); text != "" && !strings.HasPrefix(text, "\ndixie ") {
		t.Errorf("%v: beside the log it says %s", env, text)
	}
	a.log += plain.String()
	return a
}

var (
	variableName = regexp.MustCompile(`\b(DIXIE|NODE|FINN|DATABASE|REDIS|NATS|OTEL|LOG)_[A-Z_]+\b`)
	goOption     = regexp.MustCompile(`\bWith[A-Z]|\bConfig\b`)
)

// TestConfigAgreesWithServe: the command config refuses what serve refuses before it asks any server, and nothing else;
// and every problem names its variable, and no secret.
func TestConfigAgreesWithServe(t *testing.T) {
	t.Parallel()
	binary := build(t, "dixie/examples/staging-server")
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	database := "DATABASE_URL=" + noServer
	otel := "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"
	for _, tc := range []struct {
		usable bool
		env    []string
	}{
		{true, nil},
		{true, []string{database}},
		{true, []string{otel, "OTEL_EXPORTER_OTLP_HEADERS=x-api-key=hunter2", "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.5"}},
		{true, []string{otel, "OTEL_EXPORTER_OTLP_HEADERS=", "OTEL_TRACES_SAMPLER=", "OTEL_EXPORTER_OTLP_CERTIFICATE=", "OTEL_RESOURCE_ATTRIBUTES="}},
		{true, []string{"DIXIE_ALLOWLIST_PATH=/no/such/file.json"}},
		{true, []string{"DIXIE_RATE_LIMIT_RPM=many", "DIXIE_CONVICTION_TIER_TTL=99999999"}},
		{true, []string{"REDIS_URL=redis://127.0.0.1:1/3?min_idle_conns=2", "DIXIE_RATE_LIMIT_BACKEND=memory"}},
		{true, []string{database + "&application_name=x&pool_max_conns=3"}},
		{true, []string{"DIXIE_CORS_ORIGINS=https://a.example,http://b.example:8080", "DIXIE_ADMIN_KEY=shown-at-the-start"}},
		{false, []string{"DIXIE_ADMIN_KEY=hunter2 hunter2"}},
		{false, []string{"DIXIE_ADMIN_KEY=hunter2\u00e4"}},
		{false, []string{"DIXIE_ADMIN_KEY=dxk_hunter2"}},
		{false, []string{"FINN_AUTH_TOKEN=hunter2\nx"}},
		{false, []string{"FINN_AUTH_TOKEN=" + strings.Repeat("hunter2", 1000)}},
		{false, []string{"FINN_URL=http://u:hunter2@finn"}},
		{false, []string{"FINN_URL=http://finn?key=hunter2"}},
		{false, []string{"FINN_URL=http://:99999"}},
		{false, []string{"FINN_WS_URL=ws://u:hunter2@finn", "FINN_URL=http://finn"}},
		{false, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=foo bar"}},
		{false, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://u:hunter2@h"}},
		{false, []string{otel, "OTEL_EXPORTER_OTLP_HEADERS=hunter2"}},
		{false, []string{otel, "OTEL_EXPORTER_OTLP_HEADERS=x-api-key=abc%zzhunter2"}},
		{false, []string{otel, "OTEL_EXPORTER_OTLP_TRACES_HEADERS=hunter2"}},
		{false, []string{otel, "OTEL_TRACES_SAMPLER=foo"}},
		{false, []string{otel, "OTEL_EXPORTER_OTLP_CERTIFICATE=/no/such/file"}},
		{false, []string{otel, "OTEL_EXPORTER_OTLP_TIMEOUT=10s"}},
		{false, []string{"OTEL_RESOURCE_ATTRIBUTES=team"}},
		{false, []string{"OTEL_RESOURCE_ATTRIBUTES=team", "OTEL_SDK_DISABLED=true"}},
		{false, []string{"OTEL_SDK_DISABLED=1"}},
		{false, []string{"OTEL_TRACES_EXPORTER=console"}},
		{false, []string{otel, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"}},
		{true, []string{otel, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_TRACES_EXPORTER=none"}},
		{true, []string{otel, "OTEL_EXPORTER_OTLP_HEADERS=hunter2", "OTEL_SDK_DISABLED=true"}},
		{false, []string{database + "&sslmode=bogus"}},
		{false, []string{database + "&sslmode=verify-full&sslrootcert=/no/such/file"}},
		{false, []string{database + "&pool_max_conns=many"}},
		{false, []string{"DATABASE_URL=postgres://u:hunter2@h:99999/d"}},
		{false, []string{"REDIS_URL=redis://u:hunter2@h/abc"}},
		{false, []string{"REDIS_URL=redis://u:hunter2@h:99999"}},
		{false, []string{"REDIS_URL=redis://u:hunter2@h?unknown=hunter2"}},
		{false, []string{"REDIS_URL=redis://u:hunter2@h?min_idle_conns=x"}},
		{false, []string{"NATS_URL=nats://u:hunter2@a:99999"}},
		{false, []string{"DIXIE_ALLOWLIST_PATH=" + broken}},
		{false, []string{"DIXIE_ALLOWLIST_PATH=" + filepath.Dir(broken), database}},
		{false, []string{"DIXIE_ALLOWLIST_PATH=/dev/zero"}},
		{false, []string{"DIXIE_CORS_ORIGINS=HTTP://A.example"}},
		{false, []string{"DIXIE_CORS_ORIGINS=http://a.example:80"}},
		{false, []string{"DIXIE_CORS_ORIGINS=http://u:hunter2@x"}},
		{false, []string{"DIXIE_ENV=moon"}},
		{false, []string{"DIXIE_ENV=staging"}},
		{false, []string{"DIXIE_JWT_PRIVATE_KEY_FILE=/dev/zero"}},
		{false, []string{"DIXIE_METRICS_LISTEN=nowhere"}},
		{false, []string{"DIXIE_METRICS_LISTEN=3099", "DIXIE_PORT=3099"}},
	} {
		t.Run(strings.Join(tc.env, " "), func(t *testing.T) {
			t.Parallel()
			config := exec.CommandContext(t.Context(), binary, "config")
			config.Env = tc.env
			shown, err := config.CombinedOutput()
			if (err == nil) != tc.usable || strings.Contains(string(shown), "The configuration is usable.") != tc.usable {
				t.Errorf("config: %v, want usable %t\n%s", err, tc.usable, shown)
			}
			started := tryToStart(t, binary, tc.env)
			if got := started.ready || started.network; got != tc.usable {
				t.Errorf("serve: it came to the network %t, want %t\n%s", got, tc.usable, started.log)
			}
			if (len(started.problems) == 0) != tc.usable {
				t.Errorf("serve: problems %q", started.problems)
			}
			for _, problem := range started.problems {
				if !variableName.MatchString(problem) || goOption.MatchString(problem) {
					t.Errorf("it does not name the variable, or a Go option: %s", problem)
				}
				if !strings.Contains(string(shown), problem) {
					t.Errorf("config does not say %q:\n%s", problem, shown)
				}
			}
			if strings.Contains(string(shown)+started.log, "hunter2") {
				t.Errorf("a secret is shown:\n%s\n%s", shown, started.log)
			}
		})
	}
}
