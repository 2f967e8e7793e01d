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

// clients connect all the while, ask the server for its time, and remember what it said.
type clients struct {
	running sync.WaitGroup

	mu   sync.Mutex
	told []time.Time // GUARDED_BY(mu)
}

func (c *clients) run(ctx context.Context, url string) {
	const connections, questions = 8, 3
	for range connections {
		c.running.Go(func() {
			for ctx.Err() == nil {
				conn, err := pgx.Connect(ctx, url)
				if err != nil {
					continue
				}
				for range questions {
					var now time.Time
					if conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now) == nil {
						c.mu.Lock()
						c.told = append(c.told, now)
						c.mu.Unlock()
					}
				}
				_ = conn.Close(context.WithoutCancel(ctx))
			}
		})
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
		c.run(ctx, server.URL())
		<-time.After(hold / 2)
		resume, err := server.Pause()
		if err != nil {
			t.Fatal(err)
		}
		paused := time.Now().Add(margin) // A signal may take a moment.
		<-time.After(hold)
		resumed := time.Now()
		resume()
		cancel()
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
