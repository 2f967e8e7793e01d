package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"dixie/migrate"
)

func TestRemediesForRefusals(t *testing.T) {
	t.Parallel()
	for code, says := range map[string]string{
		"28P01": "DATABASE_PASSWORD", "28000": "check the user in DATABASE_URL", "3D000": "create the database", "42501": "own the database",
		"53100": "free space", "53300": "DATABASE_POOL_SIZE", "57P03": "wait until it is ready", "25006": "must name the primary",
		"42704": "a parameter in DATABASE_URL", "22023": "a parameter in DATABASE_URL",
		"42P01": "staging-server migrate up", "42703": "staging-server migrate up",
	} {
		err := withRemedy(fmt.Errorf("connect: %w", &pgconn.PgError{Code: code}))
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", code, err)
		}
		if _, ok := errors.AsType[*pgconn.PgError](err); !ok {
			t.Errorf("%s: the cause is lost", code)
		}
	}
	plain := errors.New("plain")
	for _, err := range []error{nil, plain} {
		if got := withRemedy(err); !errors.Is(got, err) || got != nil && got.Error() != "plain" {
			t.Errorf("%v became %v", err, got)
		}
	}
}

// fakeDatabase lets each connection have an answer of its own, and none if that is empty.
func fakeDatabase(t *testing.T, answer string) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_, _ = conn.Read(make([]byte, 1024))
				if answer != "" {
					_, _ = io.WriteString(conn, answer)
				}
				_, _ = io.Copy(io.Discard, conn) // Until the client is tired of it.
			}()
		}
	}()
	return listener.Addr().String()
}

func TestRemediesForConnections(t *testing.T) {
	t.Parallel()
	for says, url := range map[string]string{
		"PostgreSQL does not answer":                         "postgres://u:hunter2@" + fakeDatabase(t, "") + "/d?sslmode=disable&connect_timeout=1",
		"switch TLS on in PostgreSQL":                        "postgres://u:hunter2@" + fakeDatabase(t, "N") + "/d?sslmode=require",
		"start PostgreSQL, or correct the host and the port": "postgres://u:hunter2@127.0.0.1:1/d",
		"check the host in DATABASE_URL":                     "postgres://u:hunter2@nohost.invalid/d",
	} {
		m, err := migrate.New(url, migrate.Config{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Up(t.Context())
		if err = withRemedy(err); err == nil || !strings.Contains(err.Error(), "; "+says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want one with %s", err, says)
		}
	}
}

func TestRemediesForAddresses(t *testing.T) {
	t.Parallel()
	for number, says := range map[error]string{
		syscall.EADDRINUSE: "DIXIE_PORT is taken", syscall.EADDRNOTAVAIL: "DIXIE_HOST must be an address of this machine",
		syscall.EACCES: "choose one from 1024", syscall.EAFNOSUPPORT: "check DIXIE_HOST and DIXIE_PORT",
	} {
		err := withListenRemedy(&net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", number)})
		if !strings.Contains(err.Error(), says) || !errors.Is(err, number) {
			t.Errorf("%v: %v", number, err)
		}
	}
}

func TestRemediesForRedis(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"WRONGPASS invalid username-password pair or user is disabled.": "the password in REDIS_URL",
		"NOAUTH Authentication required.":                               "the password in REDIS_URL",
		"NOPERM this user has no permissions":                           "what the user may do",
		"ERR DB index is out of range":                                  "the number of the database",
		"LOADING Redis is loading the dataset in memory":                "wait",
		"tls: first record does not look like a TLS handshake":          "rediss://",
		"dial tcp: connection refused":                                  "start Redis",
	} {
		if _, remedy := redisRemedy(errors.New(text)); !strings.Contains(remedy, says) {
			t.Errorf("%s: %s", text, remedy)
		}
	}
	if _, remedy := redisRemedy(context.DeadlineExceeded); !strings.Contains(remedy, "does not answer") {
		t.Errorf("a time-out: %s", remedy)
	}
	if _, remedy := redisRemedy(&net.DNSError{Err: "no such host"}); !strings.Contains(remedy, "check the host in REDIS_URL") {
		t.Errorf("an unknown host: %s", remedy)
	}
}
