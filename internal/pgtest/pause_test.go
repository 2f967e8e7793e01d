package pgtest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"dixie/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clients ask the server for its time again and again, each on a connection of its own, and remember what it said.
type clients struct {
	running sync.WaitGroup

	mu   sync.Mutex
	told []time.Time // GUARDED_BY(mu)
}

// run has one client after the other connect, a few at a time, and tells of each.
func (c *clients) run(ctx context.Context, url string, connected chan<- struct{}) {
	const atATime, each = 8, 15
	for range atATime {
		c.running.Go(func() {
			for range each {
				conn, err := pgx.Connect(ctx, url)
				if err != nil {
					return
				}
				connected <- struct{}{}
				c.running.Go(func() { c.ask(ctx, conn) })
			}
		})
	}
}

func (c *clients) ask(ctx context.Context, conn *pgx.Conn) {
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for {
		var now time.Time
		if conn.QueryRow(ctx, "SELECT clock_timestamp() FROM pg_sleep(0.01)").Scan(&now) != nil {
			return
		}
		c.mu.Lock()
		c.told = append(c.told, now)
		c.mu.Unlock()
	}
}

// TestPauseHoldsEveryBackend pauses a server that makes backends just then: none of them goes on.
func TestPauseHoldsEveryBackend(t *testing.T) {
	t.Parallel()
	const hold, margin = 400 * time.Millisecond, 100 * time.Millisecond
	server := pgtest.Start(t)
	for range 5 {
		var c clients
		ctx, cancel := context.WithCancel(t.Context())
		connected := make(chan struct{}, 1000)
		c.run(ctx, server.URL(), connected)
		for range 20 {
			<-connected
		}
		resume, err := server.Pause()
		if err != nil {
			t.Fatal(err)
		}
		paused := time.Now().Add(margin) // A signal may take a moment.
		<-time.After(hold)
		resumed := time.Now()
		cancel()
		resume()
		c.running.Wait()
		answers := 0
		for _, at := range c.told {
			if at.After(paused) && at.Before(resumed) {
				answers++
			}
		}
		if len(c.told) == 0 || answers > 0 {
			t.Errorf("%d answers, %d of them from a server that is paused", len(c.told), answers)
		}
	}
}
