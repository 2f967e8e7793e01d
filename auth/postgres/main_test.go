package postgres_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"dixie/auth/postgres"
	"dixie/internal/pgtest"
)

//nolint:gochecknoglobals // The server that this package's tests share.
var server *pgtest.Pool

func TestMain(m *testing.M) {
	server = pgtest.Main(m)
	goleak.VerifyTestMain(server)
}

const (
	alice = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
	bob   = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
	carol = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
	key   = "dxk_12345678"

	// promise is how soon a change counts everywhere, on a machine that is not too busy: see promises.
	promise = time.Second
	// patience is how long a test waits for what must happen. It is less than what a list that does not follow takes
	// to be read again all the same.
	patience = 20 * time.Second
)

// pool connects to the database as one replica does.
func pool(tb testing.TB, url string, change ...func(*pgxpool.Config)) *pgxpool.Pool {
	tb.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.MaxConns = 5
	for _, c := range change {
		c(cfg)
	}
	made, err := pgxpool.NewWithConfig(context.WithoutCancel(tb.Context()), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(made.Close)
	return made
}

// listens counts how often a connection began to listen.
type listens struct{ n atomic.Int32 }

func (l *listens) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	if query.SQL == "LISTEN dixie_allowlist" {
		return context.WithValue(ctx, l, true)
	}
	return ctx
}

func (l *listens) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryEndData) {
	if ctx.Value(l) != nil && query.Err == nil {
		l.n.Add(1)
	}
}

// counted has the connections of a pool, and those made like them, count in l.
func (l *listens) counted(cfg *pgxpool.Config) { cfg.ConnConfig.Tracer = l }

func (l *listens) await(tb testing.TB, n int32) {
	tb.Helper()
	eventually(tb, "listening", func() bool { return l.n.Load() >= n })
}

// open makes a replica, which is closed when the test ends.
func open(tb testing.TB, cfg postgres.Config) *postgres.Allowlist {
	tb.Helper()
	list, err := postgres.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := list.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return list
}

// psql is somebody who changes the tables by hand.
func psql(tb testing.TB, url, statement string, args ...any) {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(tb.Context())) }()
	if _, err := conn.Exec(tb.Context(), statement, args...); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

// eventually waits for what must be so, and returns how long it took.
func eventually(tb testing.TB, what string, done func() bool) time.Duration {
	tb.Helper()
	began := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Since(began) > patience {
			tb.Fatalf("not within %v: %s", patience, what)
		}
		<-tick.C
	}
	took := time.Since(began)
	tb.Logf("%s after %v", what, took.Round(time.Millisecond))
	return took
}

// promises is how long each change of one kind took to count in a test. A busy machine may hold a few up, so when the test
// ends the median must be as promised, of two the quicker.
type promises struct {
	testing.TB

	took []time.Duration
}

func newPromises(tb testing.TB) *promises {
	tb.Helper()
	p := &promises{TB: tb}
	tb.Cleanup(func() {
		slices.Sort(p.took)
		if n := len(p.took); n > 0 && p.took[(n-1)/2] > promise {
			tb.Errorf("changes count after %v, want most within %v", p.took, promise)
		}
	})
	return p
}

// await waits until a change counts.
func (p *promises) await(what string, done func() bool) {
	p.Helper()
	p.took = append(p.took, eventually(p, what, done))
}

// logs is a log that can be read while it is written.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logs) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

// file is a seed file that can be written anew.
type file string

func newFile(tb testing.TB, content string) file {
	tb.Helper()
	f := file(filepath.Join(tb.TempDir(), "allowlist.json"))
	f.write(tb, content)
	return f
}

func (f file) write(tb testing.TB, content string) {
	tb.Helper()
	if err := os.WriteFile(string(f), []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
}
