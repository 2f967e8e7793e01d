// Package pgtest gives tests a real PostgreSQL: the one that DIXIE_TEST_DATABASE_URL names, or a
// throw-away cluster of the binaries that are installed here (initdb and postgres, on PATH or below
// /usr/lib/postgresql). Where there is neither, tests are skipped with the reason, and fail when
// DIXIE_TEST_REQUIRE lists postgres. It is for tests only.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"dixie/internal/testserver"
	"dixie/migrate"
)

// Runner is the part of *testing.M that a TestMain needs.
type Runner interface{ Run() int }

// Pool shares one server between the tests of a package. Make one in a package's TestMain; it starts the
// server when the first test asks and stops it in Run.
type Pool struct {
	tests Runner

	once   sync.Once
	url    string
	server *Server
	err    error

	migrated    sync.Once
	template    string
	templateErr error

	mu      sync.Mutex
	lasting []string // GUARDED_BY(mu)
}

// Main returns a Runner that runs m and then stops the server that its tests started, if any.
func Main(m Runner) *Pool { return &Pool{tests: m} }

// Run implements [Runner].
func (p *Pool) Run() int {
	code := p.tests.Run()
	if p.server != nil {
		p.server.Remove()
		return code
	}
	if p.template != "" {
		_ = execute(context.Background(), p.url, "DROP DATABASE "+p.template+" WITH (FORCE)")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range p.lasting {
		_ = execute(context.Background(), p.url, "DROP DATABASE "+name+" WITH (FORCE)")
	}
	return code
}

// Database makes an empty database for one test and returns its URL. It is dropped when the test ends.
func (p *Pool) Database(tb testing.TB) string {
	tb.Helper()
	return createDatabase(tb, p.serverURL(tb), "")
}

// Lasting makes an empty database that is there until [Pool.Run] ends, and returns its URL: for what the tests
// of a package share.
func (p *Pool) Lasting(tb testing.TB) string {
	tb.Helper()
	server, name := p.serverURL(tb), randomName()
	if err := execute(tb.Context(), server, "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lasting = append(p.lasting, name)
	return within(server, name)
}

// Migrated is [Pool.Database] with the schema of package migrate, copied from a template.
func (p *Pool) Migrated(tb testing.TB) string {
	tb.Helper()
	server := p.serverURL(tb)
	p.migrated.Do(func() { p.template, p.templateErr = makeTemplate(server) })
	if p.templateErr != nil {
		tb.Fatal(p.templateErr)
	}
	return createDatabase(tb, server, p.template)
}

func makeTemplate(server string) (string, error) {
	ctx := context.Background()
	name := randomName()
	if err := execute(ctx, server, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	m, err := migrate.New(within(server, name), migrate.Config{})
	if err == nil {
		_, err = m.Up(ctx)
	}
	return name, err
}

func (p *Pool) serverURL(tb testing.TB) string {
	tb.Helper()
	p.once.Do(func() {
		if p.url = os.Getenv("DIXIE_TEST_DATABASE_URL"); p.url != "" {
			return
		}
		if p.server, p.err = Create(); p.err == nil {
			p.url = p.server.URL()
		}
	})
	if p.err != nil {
		testserver.Unavailable(tb, "postgres", p.err)
	}
	return p.url
}

// Start gives a test a server of its own, to be stopped, killed or held still. It is removed when the test
// ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	server, err := Create()
	if err != nil {
		testserver.Unavailable(tb, "postgres", err)
	}
	tb.Cleanup(server.Remove)
	return server
}

func createDatabase(tb testing.TB, server, template string) string {
	tb.Helper()
	name := randomName()
	create := "CREATE DATABASE " + name
	if template != "" {
		create += " TEMPLATE " + template
	}
	if err := execute(tb.Context(), server, create); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := execute(context.WithoutCancel(tb.Context()), server, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			tb.Error(err)
		}
	})
	return within(server, name)
}

func randomName() string { return "t_" + strings.ToLower(rand.Text()) }

// within is the server's URL with another database.
func within(server, name string) string {
	u, err := url.Parse(server)
	if err != nil {
		return server // Connecting tells what is wrong with it.
	}
	u.Path = "/" + name
	return u.String()
}

func execute(ctx context.Context, server, statement string) error {
	conn, err := pgx.Connect(ctx, server)
	if err == nil {
		_, err = conn.Exec(ctx, statement)
		_ = conn.Close(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
