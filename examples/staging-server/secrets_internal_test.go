package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

func lookupIn(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pipe is one that nobody writes to.
func pipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// staging is a configuration that is usable in staging.
func staging(changes map[string]string) map[string]string {
	values := map[string]string{
		"DIXIE_ENV": "staging", "FINN_URL": "http://finn:3000", "DATABASE_URL": "postgres://dixie@db/dixie",
		"DIXIE_JWT_PRIVATE_KEY": strings.Repeat("k", minSecret),
	}
	maps.Copy(values, changes)
	return values
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	values := map[string]string{"DIXIE_ENV": "staging", "FINN_URL": "http://finn:3000"}
	for name, content := range map[string]string{
		"DATABASE_URL": "postgres://dixie@db/dixie\n", "DATABASE_PASSWORD": "p@ss\r\n", "REDIS_URL": "redis://:r@cache\n", "NATS_URL": "nats://t@bus",
		"DIXIE_JWT_PRIVATE_KEY": strings.Repeat("k", minSecret) + "\n", "DIXIE_ADMIN_KEY": "admin\n", "FINN_AUTH_TOKEN": "finn\n",
	} {
		values[name+fileSuffix] = secretFile(t, content)
	}
	c, err := readConfig(lookupIn(values))
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][2]string{
		"database": {c.databaseURL, "postgres://dixie:p%40ss@db/dixie"}, "redis": {c.redisURL, "redis://:r@cache"},
		"nats": {c.natsURL, "nats://t@bus"}, "secret": {c.secret, strings.Repeat("k", minSecret)},
		"admin key": {c.adminKey, "admin"}, "finn": {c.finnToken, "finn"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %q, want %q", name, got[0], got[1])
		}
	}
}

func TestSecretsAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		values map[string]string
		says   string
	}{
		"both": {
			map[string]string{"DIXIE_ADMIN_KEY": "hunter2", "DIXIE_ADMIN_KEY_FILE": secretFile(t, "hunter2")},
			"DIXIE_ADMIN_KEY and DIXIE_ADMIN_KEY_FILE are both set",
		},
		"no file":         {map[string]string{"REDIS_URL_FILE": "/no/such/file"}, "REDIS_URL_FILE: the secret cannot be read: stat /no/such/file"},
		"empty":           {map[string]string{"NATS_URL_FILE": secretFile(t, "\n")}, "NATS_URL_FILE: "},
		"two passwords":   {map[string]string{"DATABASE_URL": "postgres://u:hunter2@h/d", "DATABASE_PASSWORD": "hunter2"}, "keep one"},
		"two, in a query": {map[string]string{"DATABASE_URL": "postgres://u@h/d?password=hunter2", "DATABASE_PASSWORD": "hunter2"}, "keep one"},
		"nobody's":        {map[string]string{"DATABASE_URL": "postgres://h/d", "DATABASE_PASSWORD": "hunter2"}, "names no user"},
		"from a bad file": {map[string]string{"DATABASE_URL_FILE": secretFile(t, "mysql://u:hunter2@h/d"), "DATABASE_URL": ""}, "DATABASE_URL must be a URL"},
	} {
		_, err := readConfig(lookupIn(staging(tc.values)))
		if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := databaseURL(lookupIn(staging(tc.values))); tc.values["DATABASE_PASSWORD"] != "" && err == nil {
			t.Errorf("%s: no problem for maintenance", name)
		}
	}
}

// FuzzDatabasePassword: any password that PostgreSQL takes comes out as it went in, and changes nothing else of
// the URL.
func FuzzDatabasePassword(f *testing.F) {
	for _, password := range []string{"simple", "p@ss:w/rd?#[]%", "50%", "%41", " blank ", "ü€", "$HOME", `'"\`, "a&sslmode=disable", "\xff\n", "zero\x00"} {
		f.Add(password)
	}
	f.Fuzz(func(t *testing.T, password string) {
		c, err := readConfig(lookupIn(staging(map[string]string{
			"DATABASE_URL": "postgres://dixie@db:5432/dixie?sslmode=disable", "DATABASE_PASSWORD": password,
		})))
		if strings.ContainsRune(password, 0) {
			if err == nil {
				t.Fatal("a zero byte is taken")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := pgx.ParseConfig(c.databaseURL)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Password != password || parsed.User != "dixie" || parsed.Host != "db" || parsed.Port != 5432 ||
			parsed.Database != "dixie" || parsed.TLSConfig != nil {
			t.Errorf("%q became %q of %s@%s:%d/%s", password, parsed.Password, parsed.User, parsed.Host, parsed.Port, parsed.Database)
		}
	})
}

func TestShowConfig(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := showConfig(lookupIn(staging(map[string]string{
		"DATABASE_PASSWORD": "hunter2", "REDIS_URL": "redis://:hunter2@cache:6379/0", "NATS_URL": "nats://hunter2@a:4222, tls://u:hunter2@b",
		"FINN_URL": "https://finn/", "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=hunter2",
		"DIXIE_ADMIN_KEY_FILE": secretFile(t, "hunter2"), "FINN_AUTH_TOKEN": "hunter2",
		"DIXIE_SCHEDULE_CALLBACK_SECRET": "hunter2", "DIXIE_PORT": "99999", "DIXIE_MEMORY_MAX_EVENTS": "20000",
	})), &out)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("a secret is shown:\n%s", &out)
	}
	lines := strings.Split(out.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	shown := strings.Join(lines, "\n")
	for _, want := range []string{
		"\nDIXIE_ENV set staging\n", "\nDIXIE_HOST default all addresses\n", "\nDIXIE_PORT set 65535\n", "\nDIXIE_RATE_LIMIT_BACKEND default redis\n",
		"\nDATABASE_URL set postgres://dixie@db/dixie\n", "\nDATABASE_PASSWORD set (7 bytes, not shown)\n", "\nREDIS_URL set redis://:***@cache:6379/0\n",
		"\nNATS_URL set nats://***@a:4222,tls://u:***@b\n", "\nFINN_URL set https://finn/\n", "\nDIXIE_ADMIN_KEY file (7 bytes, not shown)\n",
		"\nOTEL_EXPORTER_OTLP_HEADERS set (17 bytes, not shown)\n",
		"\nDIXIE_MEMORY_MAX_EVENTS set 10000\n", "\nDIXIE_PERSONALITY_TTL default 1800\n", "\nDIXIE_CORS_ORIGINS default http://localhost:65535\n",
		"warning: DIXIE_PORT is above 65535; using 65535", "warning: DIXIE_MEMORY_MAX_EVENTS is above 10000; using 10000", "The configuration is usable.",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in\n%s", want, shown)
		}
	}
	for _, v := range variables() {
		if n := strings.Count(shown, "\n"+v.name+" "); n != 2 {
			t.Errorf("%s is listed %d times, want its meaning and its value", v.name, n)
		}
	}
}

func TestShowConfigSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := showConfig(lookupIn(map[string]string{
		"DIXIE_ENV": "production", "DATABASE_URL": "postgres://u:hunter2@x@h/d", "REDIS_URL": "redis//:hunter2@h", "NATS_URL": "hunter2",
	}), &out)
	if err == nil || strings.Contains(err.Error()+out.String(), "hunter2") {
		t.Errorf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		"FINN_URL is required", "DIXIE_JWT_PRIVATE_KEY is required", "DATABASE_URL has more than one @", "REDIS_URL must be", "NATS_URL must be",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	_, values, _ := strings.Cut(out.String(), "In effect here")
	if strings.Contains(values, "is usable") || strings.Contains(values, "random in development") {
		t.Errorf("production is shown as usable, or as development:\n%s", &out)
	}
}

// TestOriginsAreMasked: somebody may write a password where none belongs.
func TestOriginsAreMasked(t *testing.T) {
	t.Parallel()
	for _, origin := range []string{"http://u:hunter2@x", "https://hunter2@x/", "http://u:hunter2@x:99999", "http://x?key=hunter2", "u:hunter2@x"} {
		var out strings.Builder
		err := showConfig(lookupIn(map[string]string{"DIXIE_CORS_ORIGINS": "http://ok, " + origin}), &out)
		if err == nil || !strings.Contains(err.Error(), "DIXIE_CORS_ORIGINS: ") || strings.Contains(err.Error()+out.String(), "hunter2") {
			t.Errorf("%s: %v\n%s", origin, err, &out)
		}
		if !strings.Contains(out.String(), "http://ok,") {
			t.Errorf("the other origin is not shown:\n%s", &out)
		}
	}
}

func TestMaskedURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://u:hunter2@h:1/d?sslmode=disable&password=hunter2": "postgres://u:***@h:1/d?password=***&sslmode=disable",
		"redis://:hunter2@h":       "redis://:***@h",
		"nats://hunter2@h:4222":    "nats://***@h:4222",
		"http://h/?t=hunter2":      "http://h/?t=***",
		"http://h:3000/base":       "http://h:3000/base",
		"redis://u:hunter2@@h":     "redis://u:***@h",
		"redis://u:a@h/hunter2@h2": "(not a URL, not shown)",
		"//u:hunter2@h":            "://u:***@h",
		"u:hunter2@h":              "(not a URL, not shown)",
		"redis://%zz:hunter2@h":    "(not a URL, not shown)",
	} {
		if got := maskedURL(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// TestUnreadableAdminKey: no line promises a key that nobody will see.
func TestUnreadableAdminKey(t *testing.T) {
	t.Parallel()
	c, err := readConfig(lookupIn(map[string]string{"DIXIE_ADMIN_KEY_FILE": filepath.Join(t.TempDir(), "absent")}))
	if err == nil || !strings.Contains(err.Error(), "DIXIE_ADMIN_KEY_FILE") {
		t.Errorf("an absent file: %v", err)
	}
	for _, warning := range c.warnings {
		if strings.Contains(warning, "DIXIE_ADMIN_KEY") {
			t.Errorf("beside the problem: %s", warning)
		}
	}
}
