package redis_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"dixie/internal/redistest"
	"dixie/redis"
)

//nolint:gochecknoglobals // What this package's tests share.
var (
	server *redistest.Pool
	// libraryLog has what go-redis writes to the logger of the process.
	libraryLog lockedLog
)

func TestMain(m *testing.M) {
	goredis.SetLogger(redis.NewLibraryLog(libraryLog.logger()))
	server = redistest.Main(m)
	goleak.VerifyTestMain(server)
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// replicas are two clients of one empty database. See [redistest.Patient].
func replicas(tb testing.TB) (one, other *goredis.Client) {
	tb.Helper()
	url := redistest.Patient(server.Database(tb))
	return redistest.Connect(tb, url), redistest.Connect(tb, url)
}

// advance lets time really pass.
func advance(d time.Duration) { <-time.After(d + 50*time.Millisecond) }

// eventually waits until what must happen has happened.
func eventually(tb testing.TB, what string, happened func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !happened() {
		select {
		case <-look.C:
		case <-ctx.Done():
			tb.Fatalf("%s: has not happened", what)
		}
	}
}

// everyKeyExpires fails the test when a key of the database has no expiry, or one of more than most.
func everyKeyExpires(tb testing.TB, client *goredis.Client, most time.Duration, want ...string) {
	tb.Helper()
	for _, key := range want {
		if client.Exists(tb.Context(), key).Val() != 1 {
			tb.Errorf("there is no key %s", key)
		}
	}
	keys, err := client.Keys(tb.Context(), "*").Result()
	if err != nil || len(keys) < len(want) {
		tb.Fatalf("keys: %v, %v", keys, err)
	}
	for _, key := range keys {
		if ttl := client.PTTL(tb.Context(), key).Val(); ttl <= 0 || ttl > most {
			tb.Errorf("key %s expires in %v, want %v at most", key, ttl, most)
		}
	}
}

// lockedLog is a log that can be read while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

func (l *lockedLog) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func open(tb testing.TB, url string, logger *slog.Logger) *goredis.Client {
	tb.Helper()
	client, err := redis.Open(redis.Config{URL: url, Logger: logger})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close() })
	return client
}
