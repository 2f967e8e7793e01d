package fleet_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
	"dixie/fleet/memory"
)

func TestCloseFailsTasksOfAnEphemeralStore(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		b.want(task, fleet.Running)
		if err := b.Close(t.Context()); err != nil {
			t.Fatalf("Close: %v", err)
		}
		got := b.get(task.ID)
		b.want(got, fleet.Failed)
		if got.Failure == nil || got.Failure.Reason != fleet.ReasonShutdown {
			t.Errorf("failure %+v, want a shutdown", got.Failure)
		}
		if diff := cmp.Diff([]string{"[fleet] interrupted by a shutdown"}, b.log(task.ID)); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

// durable is a store that says nothing of being ephemeral.
type durable struct{ fleet.Store }

func TestCloseHandsTasksOver(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		if err := b.Close(t.Context()); err != nil {
			t.Fatalf("Close: %v", err)
		}
		got := b.get(task.ID)
		if got.Status != fleet.Retrying || got.RetryCount != 0 || got.Attempt != 2 {
			t.Errorf("after Close: %s, %d retries, attempt %d; want another attempt that spends no retry",
				got.Status, got.RetryCount, got.Attempt)
		}
	}, func(c *fleet.Config) { c.Store = durable{memory.New(memory.Config{})} })
}

// TestCloseWhileATimeLimitEndsAnAttempt: its task is treated like that of any other attempt at work.
func TestCloseWhileATimeLimitEndsAnAttempt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		store func() fleet.Store
		want  fleet.Status
	}{
		{func() fleet.Store { return memory.New(memory.Config{}) }, fleet.Failed},
		{func() fleet.Store { return durable{memory.New(memory.Config{})} }, fleet.Retrying},
	} {
		var interrupted causes
		inBubble(t, interrupted.silent, func(t *testing.T, b *bundle) {
			r := request()
			minutes := 5
			r.TimeoutMinutes = &minutes
			task := b.spawn(r)
			b.pass(5*time.Minute + time.Second)
			interrupted.want(t, map[int]error{1: fleet.ErrTimeout})
			if err := b.Close(t.Context()); err != nil {
				t.Fatalf("Close: %v", err)
			}
			got := b.get(task.ID)
			b.want(got, c.want)
			if got.Failure == nil || got.Failure.Reason != fleet.ReasonShutdown || got.RetryCount != 0 {
				t.Errorf("failure %+v, %d retries; want a shutdown that spends none", got.Failure, got.RetryCount)
			}
		}, func(cfg *fleet.Config) { cfg.Store = c.store() })
	}
}

func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	deaf := func(context.Context, fleet.Job, fleet.Report) error {
		pass(time.Hour)
		return nil
	}
	inBubble(t, deaf, func(t *testing.T, b *bundle) {
		b.settled(b.spawn(request()).ID)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v, want the context's error", err)
		}
	})
}

func TestCloseWithoutStart(t *testing.T) {
	t.Parallel()
	service, err := fleet.New(fleet.Config{
		Store: memory.New(memory.Config{}), Runner: fleet.RunnerFunc(doNothing), Policy: limitPolicy{},
	})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	for range 2 {
		if err := service.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func TestPanickingHook(t *testing.T) {
	t.Parallel()
	inBubble(t, doNothing, func(_ *testing.T, b *bundle) {
		b.want(b.settled(b.spawn(request()).ID), fleet.Completed)
	}, func(c *fleet.Config) {
		c.OnEvent = func(context.Context, fleet.Event) { _ = panics(t.Context(), fleet.Job{}, nil) }
	})
}

// flaky is a store whose writes fail for a while.
type flaky struct {
	*memory.Store

	down atomic.Bool
}

func (f *flaky) Update(ctx context.Context, target fleet.Target, change func(fleet.Task) (fleet.Change, error)) (fleet.Task, error) {
	if f.down.Load() {
		return fleet.Task{}, fleet.ErrStoreUnavailable
	}
	return f.Store.Update(ctx, target, change)
}

func (f *flaky) AppendLog(ctx context.Context, target fleet.Target, lines []string) error {
	if f.down.Load() {
		return fleet.ErrStoreUnavailable
	}
	return f.Store.AppendLog(ctx, target, lines)
}

func TestOutcomeSurvivesAnOutageOfTheStore(t *testing.T) {
	t.Parallel()
	store := &flaky{}
	run := func(_ context.Context, _ fleet.Job, report fleet.Report) error {
		report.Started("x")
		store.down.Store(true)
		report.Log("lost")
		return nil
	}
	inBubble(t, run, func(_ *testing.T, b *bundle) {
		task := b.spawn(request())
		b.pass(time.Minute)
		b.want(b.settled(task.ID), fleet.Running)
		store.down.Store(false)
		b.pass(5 * time.Second)
		b.want(b.settled(task.ID), fleet.Completed)
	}, func(c *fleet.Config) {
		store.Store = memory.New(memory.Config{})
		c.Store = store
	})
}

func TestAttemptIsDeliveredAgainAfterAnOutage(t *testing.T) {
	t.Parallel()
	store := &flaky{}
	store.down.Store(true)
	inBubble(t, doNothing, func(_ *testing.T, b *bundle) {
		task := b.spawn(request())
		b.pass(10 * time.Second)
		b.want(b.settled(task.ID), fleet.Proposed)
		store.down.Store(false)
		b.pass(2 * time.Second)
		b.want(b.settled(task.ID), fleet.Completed)
	}, func(c *fleet.Config) {
		store.Store = memory.New(memory.Config{})
		c.Store = store
	})
}

// twice delivers each attempt two times at once.
type twice struct{ *memory.Store }

func (s twice) Start(ctx context.Context, workers int, work func(context.Context, fleet.Attempt) error) error {
	return s.Store.Start(ctx, workers, func(ctx context.Context, a fleet.Attempt) error {
		second := make(chan error, 1)
		go func() { second <- work(ctx, a) }()
		return errors.Join(work(ctx, a), <-second)
	})
}

func TestSecondDeliveryIsHarmless(t *testing.T) {
	t.Parallel()
	var ran, ended atomic.Int32
	run := func(ctx context.Context, job fleet.Job, report fleet.Report) error {
		ran.Add(1)
		defer ended.Add(1)
		return hang(ctx, job, report)
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		if _, err := b.Stop(t.Context(), owner(), task.ID); err != nil {
			t.Fatalf("Stop: %v", err)
		}
		synctest.Wait()
		if ran.Load() != 1 || ended.Load() != 1 {
			t.Errorf("%d runs, %d of them stopped; want one", ran.Load(), ended.Load())
		}
	}, func(c *fleet.Config) { c.Store = twice{memory.New(memory.Config{})} })
}

// TestFencedWorkerIsInterrupted takes a task away behind the service's back, as another replica would.
func TestFencedWorkerIsInterrupted(t *testing.T) {
	t.Parallel()
	var cause atomic.Value
	run := func(ctx context.Context, _ fleet.Job, report fleet.Report) error {
		report.Started("x")
		for ctx.Err() == nil {
			pass(time.Second)
			report.Log("tick")
		}
		cause.Store(context.Cause(ctx))
		return ctx.Err()
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		_, err := b.store.Update(t.Context(), fleet.Target{Scope: owner(), ID: task.ID}, func(t fleet.Task) (fleet.Change, error) {
			moved, err := t.Move(time.Now(), fleet.Cancelled)
			return fleet.Change{Task: moved}, err
		})
		if err != nil {
			t.Fatalf("Update: %v", err)
		}
		b.pass(3 * time.Second)
		synctest.Wait()
		if got := cause.Load(); got != fleet.ErrStopped { //nolint:errorlint // The very value is asked for.
			t.Errorf("cause %v, want ErrStopped", got)
		}
		b.want(b.get(task.ID), fleet.Cancelled)
	})
}

// givesUp is a store that dispatches before its start is over, whose time then ends, and that waits for what it
// dispatched, as fleet/postgres does.
type givesUp struct{ fleet.Store }

// Start implements fleet.Dispatcher.
func (givesUp) Start(ctx context.Context, _ int, work func(context.Context, fleet.Attempt) error) error {
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		_ = work(context.WithoutCancel(ctx), fleet.Attempt{TaskID: "gone", Number: 1})
	}()
	<-ctx.Done()
	<-worked
	return context.Cause(ctx)
}

func TestStartThatDispatchesAndFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := fleet.New(fleet.Config{
			Store: givesUp{memory.New(memory.Config{})}, Policy: admitAll{},
			Runner: fleet.RunnerFunc(func(context.Context, fleet.Job, fleet.Report) error { return nil }),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Start: %v", err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}
