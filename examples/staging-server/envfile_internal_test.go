package main

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/template"
	"github.com/google/go-cmp/cmp"
)

const (
	envFile     = "../../.env.example"
	composeFile = "../../deploy/docker-compose.staging.yml"
	secretsFile = "../../deploy/docker-compose.secrets.yml"
)

// contract are the 24 variables that SM-4 counts.
func contract() []string {
	return []string{
		"FINN_URL", "FINN_WS_URL", "FINN_AUTH_TOKEN", "DIXIE_PORT", "DIXIE_JWT_PRIVATE_KEY", "DIXIE_CORS_ORIGINS",
		"DIXIE_ALLOWLIST_PATH", "DIXIE_ADMIN_KEY", "DIXIE_RATE_LIMIT_RPM", "NODE_ENV", "LOG_LEVEL",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "DATABASE_URL", "REDIS_URL", "NATS_URL", "DIXIE_MEMORY_PROJECTION_TTL",
		"DIXIE_MEMORY_MAX_EVENTS", "DIXIE_CONVICTION_TIER_TTL", "DIXIE_PERSONALITY_TTL",
		"DIXIE_AUTONOMOUS_PERMISSION_TTL", "DIXIE_AUTONOMOUS_BUDGET", "DATABASE_POOL_SIZE",
		"DIXIE_RATE_LIMIT_BACKEND", "DIXIE_SCHEDULE_CALLBACK_SECRET",
	}
}

// entry is a variable of the file, with the comment before it.
type entry struct {
	group, comment, value string
	open                  bool // Without a # before it.
}

var (
	assignment = regexp.MustCompile(`^(#?)([A-Z][A-Z0-9_]*)=(.*)$`)
	heading    = regexp.MustCompile(`^# --- (.*?) -+$`)
)

func readEnvFile(t *testing.T) map[string]entry {
	t.Helper()
	content, err := os.ReadFile(envFile)
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]entry{}
	group, comment := "", []string{}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "":
			comment = nil
		case heading.MatchString(line):
			group = heading.FindStringSubmatch(line)[1]
		case assignment.MatchString(line):
			m := assignment.FindStringSubmatch(line)
			if _, twice := entries[m[2]]; twice {
				t.Errorf("%s is there twice", m[2])
			}
			entries[m[2]] = entry{group: group, comment: strings.Join(comment, "\n"), value: m[3], open: m[1] == ""}
		case strings.HasPrefix(line, "# "), line == "#":
			comment = append(comment, line)
		default:
			t.Errorf("neither a comment nor a variable: %q", line)
		}
	}
	return entries
}

// TestEnvFile holds .env.example to the table of variables and to the Compose files, in both directions.
func TestEnvFile(t *testing.T) {
	t.Parallel()
	entries := readEnvFile(t)
	rest := maps.Clone(entries)
	for _, v := range variables() {
		e, ok := entries[v.name]
		delete(rest, v.name)
		want := fmt.Sprintf("# %s\n# Type: %s. Default: %s.", v.text, v.kind, v.standard)
		if diff := cmp.Diff(want, e.comment); !ok || diff != "" {
			t.Errorf(".env.example must say\n%s\n#%s=\n%s", want, v.name, diff)
		}
		if e.value != "" && e.value != v.standard {
			t.Errorf("%s is %q, and not empty or its default %q", v.name, e.value, v.standard)
		}
		if e.group == "" || strings.HasPrefix(e.group, "Docker Compose") {
			t.Errorf("%s is in the group %q", v.name, e.group)
		}
	}
	own := composeVariables(t)
	for name, e := range rest {
		if !strings.HasPrefix(e.group, "Docker Compose") || !slices.Contains(own, name) {
			t.Errorf("%s is in .env.example, and neither the server nor Compose reads it", name)
		}
		if !strings.Contains(e.comment, "\n# Type: ") || !strings.Contains(e.comment, ". Default: ") {
			t.Errorf("%s has no type or no default", name)
		}
		if e.value != "" && !strings.Contains(e.comment, "Default: "+e.value+".") {
			t.Errorf("%s is %q, which is not its default", name, e.value)
		}
	}
	for _, name := range own {
		if _, ok := entries[name]; !ok {
			t.Errorf("the Compose files read %s, and it is not in .env.example", name)
		}
	}
	if n := len(contract()); n != 24 {
		t.Errorf("the contract has %d variables", n)
	}
	for _, name := range contract() {
		if _, ok := entries[name]; !ok {
			t.Errorf("%s of the contract is not in .env.example", name)
		}
	}
	for name, e := range entries {
		secret := slices.Contains(secretNames(), name) || name == "POSTGRES_PASSWORD"
		if secret && e.value != "" {
			t.Errorf("%s has a value", name)
		}
		if wantOpen := slices.Contains([]string{"POSTGRES_PASSWORD", "DIXIE_JWT_PRIVATE_KEY", "DIXIE_ADMIN_KEY"}, name); e.open != wantOpen {
			t.Errorf("%s is to be filled in: %t, want %t", name, e.open, wantOpen)
		}
	}
}

// composeVariables are those that the Compose files take from the environment.
func composeVariables(t *testing.T) []string {
	t.Helper()
	names := []string{"COMPOSE_PROFILES"}
	for _, path := range []string{composeFile, secretsFile} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(string(content)) {
			if !strings.HasPrefix(strings.TrimSpace(line), "#") {
				lines = append(lines, line)
			}
		}
		for name := range template.ExtractVariables(map[string]any{"file": strings.Join(lines, "")}, template.DefaultPattern) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestComposePassesEveryVariable: what the server can be told, the operator of the stack can tell it.
func TestComposePassesEveryVariable(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "\n  dixie-bff:\n")
	service, _, found := strings.Cut(rest, "\n  finn:\n")
	if !found {
		t.Fatal("no service dixie-bff before finn")
	}
	for _, v := range variables() {
		// The older name would only be in the way; files come with docker-compose.secrets.yml.
		if v.name == "NODE_ENV" || strings.HasSuffix(v.name, fileSuffix) {
			continue
		}
		if !strings.Contains(service, "\n      "+v.name+": ") {
			t.Errorf("the service dixie-bff is not given %s", v.name)
		}
	}
}
