package main_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dixie/internal/pgtest"
	"dixie/internal/redistest"
	"dixie/migrate"
)

// TestStopWhileWaitingForTheLock: a start that waits for the migration lock says so, takes no connections, and ends in
// order when it is told to.
func TestStopWhileWaitingForTheLock(t *testing.T) {
	t.Parallel()
	database := postgres.Database(t)
	holder, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Close(context.WithoutCancel(t.Context())) }()
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock($1)", int64(migrate.LockKey)); err != nil {
		t.Fatal(err)
	}
	binary, port := build(t, "dixie/examples/staging-server"), freePort(t)
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = []string{"DIXIE_PORT=" + port, "DATABASE_URL=" + database}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	waits := false
	for !waits && lines.Scan() {
		waits = strings.Contains(lines.Text(), `"level":"INFO","msg":"waiting for the database of DATABASE_URL`)
	}
	if !waits {
		t.Fatal("it does not say that it waits")
	}
	if response, err := http.Get("http://127.0.0.1:" + port + "/readyz"); err == nil {
		_ = response.Body.Close()
		t.Errorf("it answers %d, and is not ready", response.StatusCode)
	}
	check := exec.CommandContext(t.Context(), binary, "healthcheck")
	check.Env = cmd.Env
	if err := check.Run(); err == nil {
		t.Error("healthy while it waits")
	}
	told := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit after SIGTERM: %v\n%s", err, rest)
	}
	if took := time.Since(told); took > 20*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	if strings.Contains(string(rest), "ERROR") || !strings.Contains(string(rest), `"msg":"stopped"`) {
		t.Errorf("it says\n%s", rest)
	}
}

// TestRefusedAddress: which variable is to blame depends on what the system says.
func TestRefusedAddress(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	binary := build(t, "dixie/examples/staging-server")
	wantRefused(t, binary, "taken", []string{"DIXIE_PORT=" + port, "DATABASE_URL=" + noServer}, []string{"address already in use; DIXIE_PORT is taken"})
	allowlist := filepath.Join(t.TempDir(), "allowlist.json")
	wantRefused(t, binary, "elsewhere", []string{"DIXIE_HOST=192.0.2.1", "DIXIE_ALLOWLIST_PATH=" + allowlist},
		[]string{"cannot assign requested address; DIXIE_HOST must be an address of this machine"})
}

// TestRedisThatRefuses is named once, with what to do; the server runs.
func TestRedisThatRefuses(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := redistest.Connect(t, server.URL())
	if err := admin.ConfigSet(t.Context(), "requirepass", "s3cr3t").Err(); err != nil {
		t.Fatal(err)
	}
	binary := build(t, "dixie/examples/staging-server")
	wrong := strings.Replace(server.URL(), "redis://", "redis://:hunter2@", 1)
	right := strings.Replace(server.URL(), "redis://", "redis://:s3cr3t@", 1)
	for address, says := range map[string]string{
		wrong:                                   `"level":"ERROR".*REDIS_URL.*WRONGPASS.*check the user and the password in REDIS_URL`,
		server.URL():                            `"level":"ERROR".*REDIS_URL.*NOAUTH.*check the user and the password in REDIS_URL`,
		strings.TrimSuffix(right, "0") + "9999": `"level":"ERROR".*REDIS_URL.*check the number of the database`,
		"redis://:hunter2@127.0.0.1:1":          `"level":"WARN".*REDIS_URL.*connection refused.*start Redis`,
		right:                                   "",
	} {
		started := tryToStart(t, binary, []string{"REDIS_URL=" + address})
		if !started.ready || strings.Contains(started.log, "hunter2") {
			t.Errorf("%s: ready %t\n%s", address, started.ready, started.log)
		}
		switch {
		case says == "" && strings.Contains(started.log, "REDIS_URL"):
			t.Errorf("nothing is wrong with it:\n%s", started.log)
		case says != "" && !regexp.MustCompile(says).MatchString(started.log):
			t.Errorf("%s: no line like %s in\n%s", address, says, started.log)
		}
	}
}

// TestMaintenanceIsRefused with the variable and the remedy, as the server is.
func TestMaintenanceIsRefused(t *testing.T) {
	t.Parallel()
	server, err := url.Parse(pgtest.Start(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	missing := *server
	missing.Path = "/nowhere"
	binary := build(t, "dixie/examples/staging-server")
	for _, tc := range []struct{ command, database, says string }{
		{"migrate up", missing.String(), "create the database that DATABASE_URL names"},
		{"migrate status", noServer, "start PostgreSQL, or correct the host and the port in DATABASE_URL"},
		{"migrate down 1", noServer, "start PostgreSQL"},
		{"reputation rebuild", noServer, "start PostgreSQL"},
		{"reputation verify", server.String(), "staging-server migrate up"},
		{"migrate up", noServer + "&sslmode=bogus", "sslmode is invalid"},
	} {
		cmd := exec.CommandContext(t.Context(), binary, strings.Fields(tc.command)...)
		cmd.Env = []string{"DATABASE_URL=" + tc.database}
		out, err := cmd.CombinedOutput()
		text := string(out)
		if err == nil || !strings.Contains(text, tc.says) || !strings.Contains(text, "DATABASE_URL") || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %v\n%s", tc.command, err, text)
		}
	}
}

// TestSuperfluousArguments: who writes one expects that it counts.
func TestSuperfluousArguments(t *testing.T) {
	t.Parallel()
	binary := build(t, "dixie/examples/staging-server")
	for _, command := range []string{"serve", "healthcheck", "config", "version"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // A server would serve.
		cmd := exec.CommandContext(ctx, binary, command, "extra")
		cmd.Env = []string{"DIXIE_PORT=0"}
		out, err := cmd.CombinedOutput()
		cancel()
		if text := string(out); err == nil || !strings.Contains(text, command+` takes no argument, not "extra"`) || !strings.Contains(text, "usage:") {
			t.Errorf("%s: %v\n%s", command, err, text)
		}
	}
}
