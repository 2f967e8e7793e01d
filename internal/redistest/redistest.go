// Package redistest gives tests a real Redis: the one that DIXIE_TEST_REDIS_URL names, or a throw-away
// server of the redis-server that is installed here. Where there is neither, tests are skipped with the
// reason, and fail when DIXIE_TEST_REQUIRE lists redis. It is for tests only.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"dixie/internal/testserver"
	"dixie/redis"
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

	mu      sync.Mutex
	lasting []reservation // GUARDED_BY(mu)
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
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.lasting {
		_ = r.end(context.Background())
	}
	return code
}

// Client is a client of [redis.Open] to an empty database of the test's own, which is patient. It is closed when the
// test ends. Channels for Pub/Sub are shared by all databases of a server.
func (p *Pool) Client(tb testing.TB) *goredis.Client {
	tb.Helper()
	return Connect(tb, Patient(p.Database(tb)))
}

// Patient adds to the URL of a database that calls may take their time, and many be made at once: for tests that are not
// about the time limits of [redis.Open], to which a busy machine would be an outage.
func Patient(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address // Connecting tells what is wrong with it.
	}
	parameters := u.Query()
	parameters.Set("pool_size", "100")
	for _, limit := range []string{"pool_timeout", "dial_timeout", "read_timeout", "write_timeout"} {
		parameters.Set(limit, "30s")
	}
	u.RawQuery = parameters.Encode()
	return u.String()
}

// Database reserves an empty database for one test, until it ends, and returns its URL. Several clients
// with it are like several replicas. A database that has something in it which no test put there is never
// used, nor emptied.
func (p *Pool) Database(tb testing.TB) string {
	tb.Helper()
	reservation := p.reserve(tb)
	tb.Cleanup(func() {
		if err := reservation.end(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
	})
	return within(p.url, reservation.database)
}

// Lasting reserves an empty database until [Pool.Run] ends, and returns its URL: for what the tests of a
// package share.
func (p *Pool) Lasting(tb testing.TB) string {
	tb.Helper()
	reservation := p.reserve(tb)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lasting = append(p.lasting, reservation)
	return within(p.url, reservation.database)
}

func (p *Pool) reserve(tb testing.TB) reservation {
	tb.Helper()
	p.once.Do(func() {
		if p.url = os.Getenv("DIXIE_TEST_REDIS_URL"); p.url != "" {
			return
		}
		if p.server, p.err = Create(); p.err == nil {
			p.url = p.server.URL()
		}
	})
	if p.err != nil {
		testserver.Unavailable(tb, "redis", p.err)
	}
	reservation, err := reserve(tb.Context(), p.url)
	if err != nil {
		tb.Fatal(err)
	}
	return reservation
}

// Connect opens a client of [redis.Open] to the URL and closes it when the test ends.
func Connect(tb testing.TB, address string) *goredis.Client {
	tb.Helper()
	client, err := redis.Open(redis.Config{URL: address})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// Start gives a test a server of its own, to be stopped, killed or held still. It is removed when the test
// ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	server, err := Create()
	if err != nil {
		testserver.Unavailable(tb, "redis", err)
	}
	tb.Cleanup(server.Remove)
	return server
}

// reservation of a database is a key in database 0, which is used for nothing else.
type reservation struct {
	server   string
	database int
}

// reservationTime frees what a killed test process had reserved.
const reservationTime = 30 * time.Minute

// patience is how long a test waits for a database, where others have them all.
const patience = time.Minute

func (r reservation) key() string { return "dixie-test:database:" + strconv.Itoa(r.database) }

func reserve(ctx context.Context, server string) (reservation, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	zero, err := redis.Open(redis.Config{URL: Patient(within(server, 0))})
	if err != nil {
		return reservation{}, err
	}
	defer func() { _ = zero.Close() }()
	config, err := zero.ConfigGet(ctx, "databases").Result()
	databases, _ := strconv.Atoi(config["databases"])
	if err != nil || databases < 2 {
		return reservation{}, fmt.Errorf("a test needs a database other than 0, of %d: %w", databases, err)
	}
	again := time.NewTicker(100 * time.Millisecond) //nolint:mnd // How often to look.
	defer again.Stop()
	for {
		first := rand.IntN(databases) //nolint:gosec // Only spreads the processes.
		for i := range databases - 1 {
			r := reservation{server, 1 + (first+i)%(databases-1)}
			if free, err := r.take(ctx, zero); free || err != nil {
				return r, err
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return reservation{}, fmt.Errorf("no database of %d is empty and free: %w", databases, ctx.Err())
		}
	}
}

func (r reservation) take(ctx context.Context, zero *goredis.Client) (bool, error) {
	free, err := zero.SetNX(ctx, r.key(), 1, reservationTime).Result()
	if err != nil || !free {
		return false, wrap("reserve a database", err)
	}
	own, err := redis.Open(redis.Config{URL: Patient(within(r.server, r.database))})
	if err != nil {
		return false, err
	}
	defer func() { _ = own.Close() }()
	keys, err := own.DBSize(ctx).Result()
	if err == nil && keys == 0 {
		return true, nil
	}
	return false, errors.Join(wrap("look into a database", err), r.free(ctx, zero))
}

func (r reservation) end(ctx context.Context) error {
	own, err := redis.Open(redis.Config{URL: Patient(within(r.server, r.database))})
	if err != nil {
		return err
	}
	defer func() { _ = own.Close() }()
	if err := own.FlushDB(ctx).Err(); err != nil {
		return wrap("empty a database", err)
	}
	zero, err := redis.Open(redis.Config{URL: Patient(within(r.server, 0))})
	if err != nil {
		return err
	}
	defer func() { _ = zero.Close() }()
	return r.free(ctx, zero)
}

func (r reservation) free(ctx context.Context, zero *goredis.Client) error {
	return wrap("free a database", zero.Del(ctx, r.key()).Err())
}

func wrap(doing string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// within is the server's URL with another database.
func within(server string, database int) string {
	u, err := url.Parse(server)
	if err != nil {
		return server // Connecting tells what is wrong with it.
	}
	u.Path = "/" + strconv.Itoa(database)
	return u.String()
}
