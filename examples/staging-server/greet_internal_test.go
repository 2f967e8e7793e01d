package main

import (
	"strings"
	"testing"
)

// TestGreeting names what is in use, and nothing else.
func TestGreeting(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		variables   map[string]string
		says, never []string
	}{
		"nothing set": {nil, []string{"every wallet", "in memory"}, []string{"table", "Redis", "NATS"}},
		"file":        {map[string]string{"DIXIE_ALLOWLIST_PATH": "/a.json"}, []string{"Allowlist  /a.json\n"}, []string{"every wallet", "table"}},
		"file and database": {
			map[string]string{"DIXIE_ALLOWLIST_PATH": "/a.json", "DATABASE_URL": "postgres://h/d"},
			[]string{"table allowlist_entries", "/a.json was read at the start"}, []string{"every wallet"},
		},
		"database": {
			map[string]string{"DATABASE_URL": "postgres://u:hunter2@h/d"},
			[]string{"every wallet", "the table in PostgreSQL is not used"}, []string{"hunter2"},
		},
		"Redis and NATS": {
			map[string]string{"REDIS_URL": "redis://u:hunter2@h", "NATS_URL": "nats://u:hunter2@h"},
			[]string{"rate limits", "Redis", "signals to NATS"}, []string{"hunter2"},
		},
		"Redis, limits by itself": {
			map[string]string{"REDIS_URL": "redis://h", "DIXIE_RATE_LIMIT_BACKEND": "memory"},
			[]string{"turns in Redis"}, []string{"rate limits"},
		},
	} {
		c, err := readConfig(func(name string) (string, bool) {
			value, ok := tc.variables[name]
			return value, ok
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.origins = []string{"http://localhost:3001"}
		var out strings.Builder
		greet(&out, c, "http://finn")
		for _, text := range tc.says {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: %q is not in %s", name, text, out.String())
			}
		}
		for _, text := range tc.never {
			if strings.Contains(out.String(), text) {
				t.Errorf("%s: %q is in %s", name, text, out.String())
			}
		}
	}
}
