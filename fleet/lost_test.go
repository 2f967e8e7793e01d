package fleet_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dixie/fleet"
	"dixie/fleet/memory"
)

// leased is a store that can take an attempt from its worker, as one does that could not renew a lease.
type leased struct {
	*memory.Store

	mu    sync.Mutex
	takes map[string]context.CancelCauseFunc // By task id.
}

func newLeased() *leased {
	return &leased{Store: memory.New(memory.Config{}), takes: make(map[string]context.CancelCauseFunc)}
}

func (s *leased) Start(ctx context.Context, workers int, work func(context.Context, fleet.Attempt) error) error {
	return s.Store.Start(ctx, workers, func(ctx context.Context, a fleet.Attempt) error {
		ctx, take := context.WithCancelCause(ctx)
		defer take(nil)
		s.mu.Lock()
		s.takes[a.TaskID] = take
		s.mu.Unlock()
		return work(ctx, a)
	})
}

func (s *leased) take(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes[id](fleet.ErrStopped)
}

// causes collects why the runs of a task were interrupted, by attempt.
type causes struct {
	mu  sync.Mutex
	all map[int]error
}

func (c *causes) add(attempt int, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[int]error)
	}
	c.all[attempt] = cause
}

func (c *causes) want(t *testing.T, want map[int]error) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if diff := cmp.Diff(want, maps.Clone(c.all), cmpopts.EquateErrors(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("causes by attempt (-want +got):\n%s", diff)
	}
}

// silent works without a word until it is interrupted, and then takes some seconds to end.
func (c *causes) silent(ctx context.Context, job fleet.Job, report fleet.Report) error {
	report.Started("thinking")
	<-ctx.Done()
	c.add(job.Task.Attempt, context.Cause(ctx))
	pass(10 * time.Second)
	return context.Cause(ctx)
}

// rescue does what a store does for a worker that is gone.
func (b *bundle) rescue(task fleet.Task) fleet.Task {
	b.t.Helper()
	target := fleet.Target{Scope: fleet.Scope{All: true}, ID: task.ID, Attempt: task.Attempt}
	rescued, err := b.store.Update(b.t.Context(), target, func(t fleet.Task) (fleet.Change, error) {
		return fleet.Rescue(t, time.Now().UTC())
	})
	if err != nil {
		b.t.Fatalf("rescuing: %v", err)
	}
	return rescued
}

func (b *bundle) wantUnchanged(before fleet.Task) {
	b.t.Helper()
	if diff := cmp.Diff(before, b.get(before.ID)); diff != "" || len(b.log(before.ID)) != 0 {
		b.t.Errorf("the worker wrote %q (-want +got):\n%s", b.log(before.ID), diff)
	}
}

func TestStoreTakesAnAttemptAway(t *testing.T) {
	t.Parallel()
	var interrupted causes
	var store *leased
	inBubble(t, interrupted.silent, func(t *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		store.take(task.ID)
		b.pass(time.Minute)
		interrupted.want(t, map[int]error{1: fleet.ErrStopped})
		b.wantUnchanged(task)

		b.rescue(task)
		got := b.settled(task.ID)
		if got.Status != fleet.Running || got.Attempt != 2 || got.RetryCount != 0 {
			t.Errorf("after the rescue: %s, attempt %d, %d retries", got.Status, got.Attempt, got.RetryCount)
		}
		interrupted.want(t, map[int]error{1: fleet.ErrStopped})
	}, func(c *fleet.Config) { store = newLeased(); c.Store = store })
}

// TestStoreTakesAnAttemptAwayThatEnds loses an attempt while its runner is about to end for another reason.
func TestStoreTakesAnAttemptAwayThatEnds(t *testing.T) {
	t.Parallel()
	var interrupted causes
	var store *leased
	inBubble(t, interrupted.silent, func(t *testing.T, b *bundle) {
		r := request()
		minutes := 5
		r.TimeoutMinutes = &minutes
		task := b.settled(b.spawn(r).ID)
		b.pass(5*time.Minute + time.Second)
		interrupted.want(t, map[int]error{1: fleet.ErrTimeout})
		store.take(task.ID)
		b.pass(time.Minute)
		b.wantUnchanged(task)
	}, func(c *fleet.Config) { store = newLeased(); c.Store = store })
}

// TestWorkThatIsDoneSaysSo has a worker that has done its work when its lease is lost: the fence decides.
func TestWorkThatIsDoneSaysSo(t *testing.T) {
	t.Parallel()
	var store *leased
	run := func(ctx context.Context, _ fleet.Job, report fleet.Report) error {
		report.Started("x")
		<-ctx.Done()
		return nil
	}
	inBubble(t, run, func(_ *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		store.take(task.ID)
		b.want(b.settled(task.ID), fleet.Completed)
	}, func(c *fleet.Config) { store = newLeased(); c.Store = store })
}

// TestLaterAttemptInterruptsAnEarlierOne has a task rescued whose worker only seemed to be gone.
func TestLaterAttemptInterruptsAnEarlierOne(t *testing.T) {
	t.Parallel()
	var interrupted causes
	inBubble(t, interrupted.silent, func(t *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		b.rescue(task)
		got := b.settled(task.ID)
		interrupted.want(t, map[int]error{1: fleet.ErrStopped})
		// The first one ends, and what it leaves belongs to the second.
		b.pass(time.Minute)
		if got.Attempt != 2 || got.Status != fleet.Running || b.get(task.ID).Version != got.Version {
			t.Errorf("attempt %d is %s, then version %d became %d", got.Attempt, got.Status, got.Version, b.get(task.ID).Version)
		}
		if _, err := b.Stop(t.Context(), owner(), task.ID); err != nil {
			t.Fatalf("Stop: %v", err)
		}
		b.pass(time.Minute)
		interrupted.want(t, map[int]error{1: fleet.ErrStopped, 2: fleet.ErrStopped})
	})
}

func TestRescue(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for _, status := range fleet.Statuses() {
		task := fleet.Task{
			ID: "1", Operator: alice, Status: status, Attempt: 4, RetryCount: 3, MaxRetries: 3, Version: 9,
			Reference: "session", History: []fleet.Passage{{Status: status, At: at}},
		}
		got, err := fleet.Rescue(task, at.Add(time.Hour))
		if status != fleet.Spawning && status != fleet.Running {
			var conflict *fleet.ConflictError
			if !errors.As(err, &conflict) || conflict.Status != status {
				t.Errorf("%s: %v, want a conflict", status, err)
			}
			continue
		}
		now := at.Add(time.Hour)
		want := fleet.Change{Task: task, RunAt: now, Event: fleet.Event{
			Type: fleet.AgentRetrying, TaskID: "1", Operator: alice, At: now, Reason: fleet.ReasonLost, RetryCount: 3,
		}}
		want.Task.Status, want.Task.Attempt, want.Task.Reference, want.Task.UpdatedAt = fleet.Retrying, 5, "", now
		want.Task.Failure = &fleet.Failure{Reason: fleet.ReasonLost, Attempt: 4, At: now}
		want.Task.History = []fleet.Passage{{Status: status, At: at}, {Status: fleet.Failed, At: now}, {Status: fleet.Retrying, At: now}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", status, err, diff)
		}
	}
}

// TestAttemptStartsAfresh looks for what an attempt leaves to the next one.
func TestAttemptStartsAfresh(t *testing.T) {
	t.Parallel()
	fails := func(_ context.Context, _ fleet.Job, report fleet.Report) error {
		report.Started("session")
		report.PullRequest(7)
		return errOuch
	}
	advance := func(path ...fleet.Status) func(*bundle, fleet.Task) {
		return func(b *bundle, task fleet.Task) {
			for _, to := range path {
				if _, err := b.Advance(b.t.Context(), owner(), task.ID, to); err != nil {
					b.t.Fatalf("Advance: %v", err)
				}
			}
		}
	}
	for name, c := range map[string]struct {
		run  fleet.RunnerFunc
		then func(*bundle, fleet.Task)
	}{
		"rejected":    {openPR, advance(fleet.Reviewing, fleet.Rejected)},
		"closed":      {openPR, advance(fleet.Failed)},
		"failed":      {fails, func(*bundle, fleet.Task) {}},
		"handed over": {hang, func(b *bundle, _ fleet.Task) { _ = b.Close(b.t.Context()) }},
	} {
		inBubble(t, c.run, func(t *testing.T, b *bundle) {
			task := b.settled(b.spawn(request()).ID)
			c.then(b, task)
			got := b.settled(task.ID)
			if got.Status != fleet.Retrying || got.Attempt != 2 || got.Reference != "" || got.PRNumber != 0 {
				t.Errorf("%s: %s, attempt %d, reference %q, pull request %d; want nothing of the first attempt",
					name, got.Status, got.Attempt, got.Reference, got.PRNumber)
			}
		}, func(c *fleet.Config) { c.Store = durable{memory.New(memory.Config{})} })
	}
}

// TestAbandonedKeepsItsPullRequest: there is no next attempt, so it is the one that was refused.
func TestAbandonedKeepsItsPullRequest(t *testing.T) {
	t.Parallel()
	inBubble(t, openPR, func(t *testing.T, b *bundle) {
		r := request()
		retries := 0
		r.MaxRetries = &retries
		task := b.settled(b.spawn(r).ID)
		got, err := b.Advance(t.Context(), owner(), task.ID, fleet.Failed)
		synctest.Wait()
		if err != nil || got.Status != fleet.Abandoned || got.PRNumber != 42 || got.Reference != "x" {
			t.Errorf("Advance: %s, pull request %d of %q, %v", got.Status, got.PRNumber, got.Reference, err)
		}
	})
}
