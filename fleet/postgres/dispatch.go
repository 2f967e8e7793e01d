package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"dixie/fleet"
	"dixie/spansanitizer"
)

const (
	// River hears of a new job at once by NOTIFY; this is how soon it finds one without.
	pollInterval  = time.Second
	fetchCooldown = 100 * time.Millisecond
	// softStop is how long the events that are being published have when the store stops.
	softStop = 5 * time.Second
	// A signal whose process has died is published by another one after this. Attempts are not River's to
	// rescue: their jobs have no time limit.
	rescueAfter = time.Minute
)

type workFunc = func(context.Context, fleet.Attempt) error

// dispatcher is what runs between Start and Stop.
type dispatcher struct {
	client *river.Client[pgx.Tx]
	// stop tells all work to end.
	stop context.CancelCauseFunc
	// ended is closed when nothing runs any more.
	ended chan struct{}
}

// Start implements [fleet.Dispatcher].
func (s *Store) Start(ctx context.Context, workers int, work func(context.Context, fleet.Attempt) error) error {
	const doing = "start"
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		return errors.New("fleet/postgres: started already: a store serves one service, once; make a new one for the next")
	}
	if err := s.cfg.Pool.Ping(ctx); err != nil {
		return interpret(ctx, doing, err)
	}
	life, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	k := &keeper{store: s, patience: s.cfg.Lease - s.cfg.Lease/safety, held: make(map[string]*lease)}
	client, err := s.newClient(workers, &attemptWorker{keeper: k, life: life, work: work})
	if err != nil {
		stop(nil)
		return err
	}
	// River lives as long as the context it is started with, which is the caller's only while it starts.
	starting, abort := context.WithCancel(context.WithoutCancel(ctx))
	detach := context.AfterFunc(ctx, abort)
	if err := client.Start(starting); err != nil {
		abort()
		stop(nil)
		return interpret(ctx, doing, err)
	}
	stopped := client.Stopped()
	if !detach() {
		stop(fleet.ErrShutdown)
		<-stopped
		return interpret(ctx, doing, ctx.Err())
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer abort()
		s.attend(life, k, stopped)
	}()
	s.run = &dispatcher{client: client, stop: stop, ended: ended}
	return nil
}

// attend keeps the leases until River has stopped, and sweeps until life ends.
func (s *Store) attend(life context.Context, k *keeper, stopped <-chan struct{}) {
	keeping, done := context.WithCancel(context.WithoutCancel(life))
	var group sync.WaitGroup
	group.Go(func() { k.keep(keeping) })
	group.Go(func() { s.sweepAlways(life) })
	<-stopped
	done()
	group.Wait()
}

func (s *Store) newClient(workers int, attempts *attemptWorker) (*river.Client[pgx.Tx], error) {
	known := river.NewWorkers()
	err := errors.Join(
		river.AddWorkerSafely(known, attempts),
		// The leader among the processes discards stuck jobs of a kind that it does not know.
		river.AddWorkerSafely(known, &signalWorker{store: s}),
	)
	if err != nil {
		return nil, fmt.Errorf("fleet/postgres: %w", err)
	}
	queues := map[string]river.QueueConfig{attemptQueue: {MaxWorkers: workers}}
	if s.Publishes() {
		queues[signalQueue] = river.QueueConfig{MaxWorkers: publishers}
	}
	client, err := river.NewClient(riverpgxv5.New(s.cfg.Pool), &river.Config{
		ID: s.name, Logger: newRiverLog(s.log), Queues: queues, Workers: known, PollOnly: s.cfg.PollOnly,
		FetchPollInterval: pollInterval, FetchCooldown: fetchCooldown,
		JobTimeout: -1, RescueStuckJobsAfter: rescueAfter, SoftStopTimeout: softStop,
		// Rebuilding indexes takes longer than the pool's statements may; the tables of jobs stay small.
		ReindexerIndexNames: []string{},
	})
	if err != nil {
		return nil, fmt.Errorf("fleet/postgres: %w", err)
	}
	return client, nil
}

// Stop implements [fleet.Dispatcher]. Leases are kept until the work has ended.
func (s *Store) Stop(ctx context.Context) error {
	s.mu.Lock()
	d := s.run
	s.mu.Unlock()
	if d == nil {
		return nil
	}
	d.stop(fleet.ErrShutdown)
	if err := d.client.Stop(ctx); err != nil {
		return fmt.Errorf("fleet/postgres: waiting for what runs: %w", err)
	}
	select {
	case <-d.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("fleet/postgres: waiting for what runs: %w", ctx.Err())
	}
}

// attemptWorker does the attempts.
type attemptWorker struct {
	river.WorkerDefaults[attemptArgs]

	keeper *keeper
	life   context.Context //nolint:containedctx // It is the dispatcher's.
	work   workFunc
}

// Timeout implements [river.Worker]: none, since the lease decides who is alive.
func (w *attemptWorker) Timeout(*river.Job[attemptArgs]) time.Duration { return -1 }

// NextRetry implements [river.Worker]; it is asked after a panic.
func (w *attemptWorker) NextRetry(*river.Job[attemptArgs]) time.Time {
	return time.Now().Add(redelivery)
}

// Work implements [river.Worker]. The end of its context is not that of the work's, which the store alone
// cancels.
func (w *attemptWorker) Work(ctx context.Context, job *river.Job[attemptArgs]) error {
	if w.life.Err() != nil {
		return after(0)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	detach := context.AfterFunc(w.life, func() { cancel(context.Cause(w.life)) }) //nolint:contextcheck // Its end is the event.
	defer detach()
	a := fleet.Attempt{TaskID: job.Args.TaskID, Number: job.Args.Attempt}
	held, due, err := w.keeper.take(ctx, a, cancel)
	switch {
	case errors.Is(err, errOver):
		return nil
	case errors.Is(err, errTaken):
		return after(redelivery)
	case err != nil:
		w.keeper.store.log.WarnContext(ctx, "fleet_lease_not_taken", "task_id", a.TaskID, "attempt", a.Number, "error", spansanitizer.TextOf(err))
		return after(redelivery)
	}
	defer func() {
		cleanup, done := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer done()
		w.keeper.release(cleanup, held)
	}()
	a.RunAt = due
	if err := w.work(ctx, a); err != nil {
		// The work has told what is wrong.
		return after(redelivery)
	}
	return nil
}
