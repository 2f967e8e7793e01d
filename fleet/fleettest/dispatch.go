package fleettest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"dixie/fleet"
)

func dispatchCases() []testCase {
	return []testCase{
		{"Dispatch/hands out what was admitted, before and after the start", dispatchAdmitted},
		{"Dispatch/a later attempt waits for its time", dispatchLater},
		{"Dispatch/an ended task is not handed out", dispatchEnded},
		{"Dispatch/no more at a time than workers", dispatchWorkers},
		{"Dispatch/an error asks for another delivery", dispatchAgain},
		{"Dispatch/a later attempt does not wait for an earlier one", dispatchRescued},
		{"Dispatch/a second service is refused and stops nothing", dispatchSecondService},
		{"Dispatch/stop cancels and waits", dispatchStops},
		{"Dispatch/stop gives up with its context", dispatchStopBounded},
	}
}

// patience is how long a case waits for what must happen.
const patience = 30 * time.Second

// aMoment is how long a case gives to what must not happen.
const aMoment = 50 * time.Millisecond

func (b *bench) start(workers int, work func(context.Context, fleet.Attempt) error) {
	b.Helper()
	if err := b.store.Start(b.ctx, workers, work); err != nil {
		b.Fatalf("Start: %v", err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.store.Stop(ctx); err != nil {
			b.Errorf("Stop: %v", err)
		}
	})
}

// handing is work that tells what was handed out.
func handing() (chan fleet.Attempt, func(context.Context, fleet.Attempt) error) {
	handed := make(chan fleet.Attempt, 100)
	return handed, func(_ context.Context, a fleet.Attempt) error {
		handed <- a
		return nil
	}
}

func receive[T any](b *bench, c <-chan T) T {
	b.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		b.Fatal("nothing was handed out")
		var none T
		return none
	}
}

func (b *bench) wantAttempt(got fleet.Attempt, id string, number int) {
	b.Helper()
	if got.TaskID != id || got.Number != number {
		b.Errorf("handed out attempt %d of %s, want %d of %s", got.Number, got.TaskID, number, id)
	}
}

func dispatchAdmitted(b *bench) {
	handed, work := handing()
	before := b.admit(alice, time.Now().UTC(), 1)
	b.start(2, work)
	b.wantAttempt(receive(b, handed), before.ID, 1)
	after := b.admit(bob, time.Now().UTC(), 1)
	b.wantAttempt(receive(b, handed), after.ID, 1)
}

// dispatchSecondService is a host that hands a store to two services: the second cannot have it, and its
// clean-up must not take it away from the first.
func dispatchSecondService(b *bench) {
	ran := make(chan string, 10)
	service := func() *fleet.Service {
		s, err := fleet.New(fleet.Config{
			Store: b.store, Policy: everything{},
			Runner: fleet.RunnerFunc(func(_ context.Context, job fleet.Job, _ fleet.Report) error {
				ran <- job.Task.ID
				return nil
			}),
		})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	first, second := service(), service()
	if err := first.Start(b.ctx); err != nil {
		b.Fatalf("Start: %v", err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := first.Close(ctx); err != nil {
			b.Errorf("Close: %v", err)
		}
	})
	if err := second.Start(b.ctx); err == nil {
		b.Error("a store in use was started again")
	}
	if err := second.Close(b.ctx); err != nil {
		b.Errorf("closing what did not start: %v", err)
	}
	if task := b.admit(alice, time.Now().UTC(), 1); receive(b, ran) != task.ID {
		b.Errorf("something else than %s ran", task.ID)
	}
}

// everything is a policy that admits whatever is asked for.
type everything struct{}

func (everything) Decide(fleet.Request, fleet.Snapshot) fleet.Decision {
	return fleet.Decision{Admit: true}
}

func dispatchLater(b *bench) {
	const wait = 50 * time.Millisecond
	task := b.admit(alice, time.Now().UTC(), 1)
	due := time.Now().UTC().Add(wait)
	b.nextAttempt(task, due)
	handed, work := handing()
	b.start(2, work)
	got := receive(b, handed)
	if early := time.Until(due); early > 0 {
		b.Errorf("handed out %v early", early)
	}
	b.wantAttempt(got, task.ID, 2)
}

func dispatchEnded(b *bench) {
	stopped := b.admit(alice, time.Now().UTC(), 1)
	b.walk(b.nextAttempt(stopped, time.Now().UTC()), fleet.Cancelled)
	b.walk(b.admit(alice, time.Now().UTC(), 1), fleet.Cancelled)
	alive := b.admit(alice, time.Now().UTC(), 1)
	handed, work := handing()
	b.start(1, work)
	b.wantAttempt(receive(b, handed), alive.ID, 1)
}

func dispatchWorkers(b *bench) {
	const workers, tasks = 2, 6
	var mu sync.Mutex
	var atOnce, most int
	begun, free := make(chan struct{}, tasks), make(chan struct{})
	for range tasks {
		b.admit(alice, time.Now().UTC(), 1)
	}
	b.start(workers, func(context.Context, fleet.Attempt) error {
		mu.Lock()
		atOnce++
		most = max(most, atOnce)
		mu.Unlock()
		begun <- struct{}{}
		<-free
		mu.Lock()
		atOnce--
		mu.Unlock()
		return nil
	})
	for range workers {
		receive(b, begun)
	}
	select {
	case <-begun:
		b.Errorf("more than %d attempts were handed out", workers)
		begun <- struct{}{}
	case <-time.After(aMoment):
	}
	for range tasks - workers {
		free <- struct{}{}
		receive(b, begun)
	}
	close(free)
	mu.Lock()
	defer mu.Unlock()
	if most != workers {
		b.Errorf("%d attempts at a time, want %d", most, workers)
	}
}

func dispatchAgain(b *bench) {
	task := b.admit(alice, time.Now().UTC(), 1)
	var calls atomic.Int32
	handed := make(chan fleet.Attempt, 1)
	b.start(1, func(_ context.Context, a fleet.Attempt) error {
		if calls.Add(1) == 1 {
			return errors.New("not now")
		}
		handed <- a
		return nil
	})
	b.wantAttempt(receive(b, handed), task.ID, 1)
}

// dispatchRescued has four attempts at work, one of which has lost its task and one whose task has ended.
func dispatchRescued(b *bench) {
	const attempts = 4
	lost, ended, other := b.admit(alice, time.Now().UTC(), 1), b.admit(alice, time.Now().UTC(), 1), b.admit(bob, time.Now().UTC(), 1)
	type ending struct {
		attempt fleet.Attempt
		cause   error
	}
	handed, endings := make(chan fleet.Attempt, attempts), make(chan ending, attempts)
	b.start(attempts, func(ctx context.Context, a fleet.Attempt) error {
		handed <- a
		<-ctx.Done()
		endings <- ending{a, context.Cause(ctx)}
		return nil
	})
	for range attempts - 1 {
		receive(b, handed)
	}
	lost = b.walk(lost, fleet.Spawning, fleet.Running)
	b.walk(ended, fleet.Spawning, fleet.Cancelled)
	b.walk(other, fleet.Spawning, fleet.Running)
	b.rescue(lost)
	b.wantAttempt(receive(b, handed), lost.ID, lost.Attempt+1)
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := b.store.Stop(ctx); err != nil {
		b.Errorf("Stop: %v", err)
	}
	for range attempts {
		got := receive(b, endings)
		over := got.attempt.TaskID == ended.ID || got.attempt.TaskID == lost.ID && got.attempt.Number == lost.Attempt
		if !errors.Is(got.cause, fleet.ErrShutdown) && (!over || !errors.Is(got.cause, fleet.ErrStopped)) {
			b.Errorf("attempt %d, over: %v, was cancelled with %v", got.attempt.Number, over, got.cause)
		}
	}
}

func dispatchStops(b *bench) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := b.store.Stop(ctx); err != nil {
		b.Errorf("Stop before Start: %v", err)
	}
	b.admit(alice, time.Now().UTC(), 1)
	begun := make(chan struct{})
	var cause error
	b.start(1, func(ctx context.Context, _ fleet.Attempt) error {
		close(begun)
		<-ctx.Done()
		cause = context.Cause(ctx)
		return nil
	})
	receive(b, begun)
	if err := b.store.Stop(ctx); err != nil {
		b.Errorf("Stop: %v", err)
	}
	if !errors.Is(cause, fleet.ErrShutdown) {
		b.Errorf("cause %v, want ErrShutdown", cause)
	}
	if err := b.store.Stop(ctx); err != nil {
		b.Errorf("Stop again: %v", err)
	}
}

func dispatchStopBounded(b *bench) {
	b.admit(alice, time.Now().UTC(), 1)
	begun, free := make(chan struct{}), make(chan struct{})
	b.start(1, func(context.Context, fleet.Attempt) error {
		close(begun)
		<-free
		return nil
	})
	receive(b, begun)
	over, cancel := context.WithCancel(b.ctx)
	cancel()
	if err := b.store.Stop(over); !errors.Is(err, context.Canceled) {
		b.Errorf("Stop = %v, want the context's error", err)
	}
	close(free)
}
