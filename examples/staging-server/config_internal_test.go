package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestConfigNumbers: what is none is refused where it matters, and what is too high is the bound everywhere.
func TestConfigNumbers(t *testing.T) {
	t.Parallel()
	numbers := []string{
		"DIXIE_PORT", "DIXIE_RATE_LIMIT_RPM", "DIXIE_CONVICTION_TIER_TTL", "DIXIE_AUTONOMOUS_BUDGET", "DIXIE_TASK_RETENTION_DAYS",
		"DATABASE_POOL_SIZE", "DIXIE_MEMORY_PROJECTION_TTL", "DIXIE_MEMORY_MAX_EVENTS", "DIXIE_PERSONALITY_TTL", "DIXIE_AUTONOMOUS_PERMISSION_TTL",
	}
	for _, name := range numbers {
		for _, value := range []string{"30O1", "-1", "1.5", "1e3", "-99999999999999999999"} {
			for environment, refused := range map[string]bool{"development": false, "test": false, "staging": true, "production": true} {
				c, err := readConfig(lookupIn(staging(map[string]string{"DIXIE_ENV": environment, "DIXIE_ADMIN_KEY": "admin", name: value})))
				want := name + " is not an integer of 0 or more"
				switch {
				case refused && (err == nil || err.Error() != want):
					t.Errorf("%s=%s in %s: %v, want %s", name, value, environment, err, want)
				case !refused && (err != nil || len(c.warnings) != 1 || !strings.HasPrefix(c.warnings[0], want+"; using ")):
					t.Errorf("%s=%s in %s: %v, %q", name, value, environment, err, c.warnings)
				}
			}
		}
		for _, value := range []string{"999999999", "99999999999999999999"} {
			c, err := readConfig(lookupIn(staging(map[string]string{name: value, "REDIS_URL": "redis://h"})))
			if err != nil || len(c.warnings) != 1 || !strings.HasPrefix(c.warnings[0], name+" is above ") {
				t.Errorf("%s=%s: %v, %q", name, value, err, c.warnings)
			}
		}
	}
	var rows []string
	for _, v := range variables() {
		if strings.HasPrefix(v.kind, "integer") && !strings.HasPrefix(v.name, "OTEL_") {
			rows = append(rows, v.name)
		}
	}
	slices.Sort(rows)
	slices.Sort(numbers)
	if diff := cmp.Diff(rows, numbers); diff != "" {
		t.Error(diff)
	}
	if err := healthcheck(lookupIn(map[string]string{"DIXIE_ENV": "staging", "DIXIE_PORT": "x"})); err == nil || !strings.Contains(err.Error(), "DIXIE_PORT") {
		t.Errorf("healthcheck: %v", err)
	}
}

// TestConfigPorts: a port in a URL is one that there is, and the URL has a host.
func TestConfigPorts(t *testing.T) {
	t.Parallel()
	for name, prefix := range map[string]string{
		"REDIS_URL": "redis://", "NATS_URL": "nats://", "FINN_URL": "http://", "FINN_WS_URL": "ws://", "DATABASE_URL": "postgres://u@",
		"DIXIE_CORS_ORIGINS": "http://", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://",
	} {
		for authority, good := range map[string]bool{
			"h:1": true, "h:65535": true, "h": true, "[::1]:1": true, "h:0": false, "h:65536": false, "h:99999": false, ":99999": false,
			":1": name == "DATABASE_URL", // The host is PostgreSQL's own default then.
		} {
			_, err := readConfig(lookupIn(map[string]string{name: prefix + authority}))
			if (err == nil) != good || err != nil && !strings.HasPrefix(err.Error(), name) {
				t.Errorf("%s=%s%s: %v, want good %t", name, prefix, authority, err, good)
			}
		}
	}
}

// TestConfigOfAnUnknownEnvironment has that one problem: what else there is to say depends on the environment.
func TestConfigOfAnUnknownEnvironment(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DIXIE_ENV", "NODE_ENV"} {
		_, err := readConfig(lookupIn(map[string]string{
			name: "moon", "DIXIE_RATE_LIMIT_RPM": "0", "DIXIE_PORT": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h",
		}))
		if want := name + ` is "moon", not development, test, staging or production`; err == nil || err.Error() != want {
			t.Errorf("%v, want %s alone", err, want)
		}
	}
}

// readElsewhere are variables of OpenTelemetry that package telemetry describes, and that the table refers to it for.
func readElsewhere() []string {
	names := []string{"OTEL_EXPORTER_OTLP_INSECURE", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"}
	for _, name := range []string{"ENDPOINT", "HEADERS", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY", "TIMEOUT", "COMPRESSION", "INSECURE", "PROTOCOL"} {
		names = append(names, "OTEL_EXPORTER_OTLP_TRACES_"+name)
	}
	return names
}

// TestConfigReadsWhatItLists holds what is read of the environment to the table of variables, in both directions.
func TestConfigReadsWhatItLists(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	read := map[string]bool{}
	recording := func(values map[string]string) func(string) (string, bool) {
		return func(name string) (string, bool) {
			mu.Lock()
			defer mu.Unlock()
			read[name] = true
			value, ok := values[name]
			return value, ok
		}
	}
	for _, values := range []map[string]string{
		nil,
		staging(nil),
		// What is read only when something else is set.
		{
			"DATABASE_URL": "postgres://u@h/d", "DATABASE_PASSWORD": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h",
			"OTEL_TRACES_SAMPLER": "traceidratio", "NATS_URL": "nats://h", "REDIS_URL": "redis://h",
		},
	} {
		if _, err := readConfig(recording(values)); err != nil {
			t.Error(err)
		}
	}
	// The commands but config, which looks at each row of the table: each ends before it asks a server, or at once, as nobody listens there.
	nobody := map[string]string{"DATABASE_URL": "postgres://u@127.0.0.1:1/d", "DIXIE_PORT": "1"}
	_ = healthcheck(recording(nobody))
	for _, command := range []string{"up", "status", "down 1"} {
		_ = runMigrations(recording(nobody), strings.Fields(command), &strings.Builder{})
	}
	for _, command := range []string{"verify", "rebuild"} {
		_ = maintainReputation(recording(nobody), []string{command}, &strings.Builder{})
	}

	listed := map[string]bool{}
	for _, v := range variables() {
		listed[v.name] = true
		if !read[v.name] {
			t.Errorf("%s is in the table, and nothing reads it", v.name)
		}
	}
	for name := range read {
		if !listed[name] && !slices.Contains(readElsewhere(), name) {
			t.Errorf("%s is read, and is not in the table", name)
		}
	}
	documentation, err := os.ReadFile("../../telemetry/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range readElsewhere() {
		if suffix, _ := strings.CutPrefix(name, "OTEL_EXPORTER_OTLP_TRACES_"); !read[name] || !strings.Contains(string(documentation), suffix) {
			t.Errorf("%s is not read, or package telemetry does not describe it", name)
		}
	}
}

// TestConfigLooksAtTheAllowlist as the server will, except that it may come later.
func TestConfigLooksAtTheAllowlist(t *testing.T) {
	t.Parallel()
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "allowlist.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for i, tc := range []struct {
		path, says string
	}{
		{file(`{"version":1,"wallets":[],"apiKeys":[]}`), ""},
		{filepath.Join(t.TempDir(), "absent.json"), ""},
		{file(`{`), "line 1"},
		{file(`{"version":1,"wallets":["hunter2"]}`), "wallets[0] is not an address"},
		{t.TempDir(), "must name a file"},
		{pipe(t), "no regular file"},
		{"/dev/zero", "no regular file"},
		{filepath.Join(file(`{}`), "below"), "not a directory"},
	} {
		_, err := readConfig(lookupIn(staging(map[string]string{"DIXIE_ALLOWLIST_PATH": tc.path})))
		switch {
		case tc.says == "" && err != nil:
			t.Errorf("%d: %v", i, err)
		case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "DIXIE_ALLOWLIST_PATH") ||
			strings.Contains(err.Error(), "hunter2")):
			t.Error(strconv.Itoa(i), err)
		}
	}
}
