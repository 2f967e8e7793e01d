package fleettest_test

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"dixie/fleet"
	"dixie/fleet/fleettest"
	"dixie/fleet/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outbox is a memory store that keeps events with the changes that they belong to, and publishes them
// while it is started.
type outbox struct {
	*memory.Store

	publish func(context.Context, fleet.Event) error
	kept    chan fleet.Event
	stop    func()
	done    sync.WaitGroup
}

func newOutbox(publish func(context.Context, fleet.Event) error) *outbox {
	return &outbox{Store: memory.New(memory.Config{}), publish: publish, kept: make(chan fleet.Event, 100), stop: func() {}}
}

func (o *outbox) Publishes() bool { return true }

func (o *outbox) keep(e fleet.Event) {
	if e.Type != "" {
		o.kept <- e
	}
}

func (o *outbox) Admit(ctx context.Context, in fleet.NewTask, decide func(fleet.Snapshot) fleet.Decision) (fleet.Admission, error) {
	a, err := o.Store.Admit(ctx, in, decide)
	if err == nil && a.Decision.Admit {
		o.keep(in.Event)
	}
	return a, err
}

func (o *outbox) Update(ctx context.Context, target fleet.Target, change func(fleet.Task) (fleet.Change, error)) (fleet.Task, error) {
	var event fleet.Event
	t, err := o.Store.Update(ctx, target, func(t fleet.Task) (fleet.Change, error) {
		c, err := change(t)
		event = c.Event
		return c, err
	})
	if err == nil {
		o.keep(event)
	}
	return t, err
}

func (o *outbox) Start(ctx context.Context, workers int, work func(context.Context, fleet.Attempt) error) error {
	// A second start is refused here, and leaves what runs alone.
	if err := o.Store.Start(ctx, workers, work); err != nil {
		return err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	o.stop = stop
	o.done.Go(func() {
		for {
			select {
			case e := <-o.kept:
				if o.publish(life, e) != nil {
					o.keep(e)
					continue
				}
				_ = o.publish(life, e) // At least once may be twice.
			case <-life.Done():
				return
			}
		}
	})
	return nil
}

func (o *outbox) Stop(ctx context.Context) error {
	o.stop()
	o.done.Wait()
	return o.Store.Stop(ctx)
}

// TestSuiteOnAnOutbox shows that a store can publish on what it is given, and that the suite lets it.
func TestSuiteOnAnOutbox(t *testing.T) {
	t.Parallel()
	nobody := func(context.Context, fleet.Event) error { return nil }
	fleettest.Run(t, func(*testing.T) fleet.Store { return newOutbox(nobody) })
	fleettest.RunEvents(t, func(_ *testing.T, publish func(context.Context, fleet.Event) error) fleet.Store {
		return newOutbox(publish)
	})
}
