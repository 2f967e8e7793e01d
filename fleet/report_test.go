package fleet_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"dixie/fleet"
	"dixie/fleet/memory"
)

// writing is a store whose log takes its time.
type writing struct {
	*memory.Store

	appends chan []string // Each append hands its lines over and waits until they are taken.
}

func (w writing) AppendLog(ctx context.Context, target fleet.Target, lines []string) error {
	w.appends <- lines
	return w.Store.AppendLog(ctx, target, lines)
}

// TestLogWaitsForTheStore: an agent that talks faster than the store writes is held up, and not what it says.
func TestLogWaitsForTheStore(t *testing.T) {
	t.Parallel()
	const collected, lines = 256, 600
	var store writing
	var said atomic.Int64
	run := func(_ context.Context, _ fleet.Job, report fleet.Report) error {
		for i := range lines {
			report.Log(strconv.Itoa(i))
			said.Add(1)
		}
		return nil
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		task := b.spawn(request())
		for write, want := range []int{collected, collected, lines - 2*collected} {
			synctest.Wait()
			// The line that makes it too many is not said before they are written.
			if got, most := int(said.Load()), (write+1)*collected-1; got != min(most, lines) {
				t.Errorf("before write %d the agent has said %d lines, want %d", write, got, min(most, lines))
			}
			if got := len(<-store.appends); got != want {
				t.Errorf("write %d has %d lines, want %d", write, got, want)
			}
		}
		b.want(b.settled(task.ID), fleet.Completed)
	}, func(c *fleet.Config) {
		store = writing{memory.New(memory.Config{}), make(chan []string)}
		c.Store = store
	})
}
