package fleet_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dixie/fleet"
)

// openPR reports a pull request and ends.
func openPR(_ context.Context, _ fleet.Job, report fleet.Report) error {
	report.Started("x")
	report.PullRequest(0)
	report.PullRequest(41)
	report.PullRequest(42)
	return nil
}

func TestAdvance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path []fleet.Status
		want fleet.Status
	}{
		"merged":         {[]fleet.Status{fleet.Reviewing, fleet.Ready, fleet.Merged}, fleet.Merged},
		"rejected":       {[]fleet.Status{fleet.Reviewing, fleet.Rejected}, fleet.Retrying},
		"closed":         {[]fleet.Status{fleet.Failed}, fleet.Retrying},
		"order is kept":  {[]fleet.Status{fleet.Reviewing, fleet.Merged}, ""},
		"no other state": {[]fleet.Status{fleet.Cancelled}, ""},
		"no such state":  {[]fleet.Status{"nonsense"}, ""},
	} {
		inBubble(t, openPR, func(t *testing.T, b *bundle) {
			task := b.settled(b.spawn(request()).ID)
			b.want(task, fleet.PRCreated)
			if task.PRNumber != 42 {
				t.Errorf("%s: pull request %d, want 42", name, task.PRNumber)
			}
			var err error
			for _, to := range c.path {
				task, err = b.Advance(t.Context(), owner(), task.ID, to)
			}
			var conflict *fleet.ConflictError
			switch {
			case c.want == "" && !errors.As(err, &conflict) && !errors.Is(err, fleet.ErrInvalidRequest):
				t.Errorf("%s: %v, want a refusal", name, err)
			case c.want != "" && (err != nil || task.Status != c.want):
				t.Errorf("%s: %s, %v; want %s", name, task.Status, err, c.want)
			}
		})
	}
}

func TestRejectedWorkIsTriedAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, openPR, func(t *testing.T, b *bundle) {
		r := request()
		retries := 1
		r.MaxRetries = &retries
		task := b.settled(b.spawn(r).ID)
		for _, want := range []fleet.Status{fleet.Retrying, fleet.Abandoned} {
			if _, err := b.Advance(t.Context(), owner(), task.ID, fleet.Reviewing); err != nil {
				t.Fatalf("Advance: %v", err)
			}
			got, err := b.Advance(t.Context(), owner(), task.ID, fleet.Rejected)
			if err != nil || got.Status != want || got.Failure.Reason != fleet.ReasonRejected {
				t.Fatalf("Advance: %s, %+v, %v; want %s", got.Status, got.Failure, err, want)
			}
			if want == fleet.Retrying {
				b.pass(30 * time.Second)
				b.want(b.settled(task.ID), fleet.PRCreated)
			}
		}
	})
}

// TestAdvanceTakesTheTaskFromItsWorker merges the pull request of an agent that still works.
func TestAdvanceTakesTheTaskFromItsWorker(t *testing.T) {
	t.Parallel()
	run := func(ctx context.Context, job fleet.Job, report fleet.Report) error {
		report.PullRequest(1)
		return hang(ctx, job, report)
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		b.want(task, fleet.PRCreated)
		for _, to := range []fleet.Status{fleet.Reviewing, fleet.Ready, fleet.Merged} {
			if _, err := b.Advance(t.Context(), owner(), task.ID, to); err != nil {
				t.Fatalf("Advance: %v", err)
			}
		}
		// Nothing is left for Close to interrupt: the worker ended with the merge.
		b.want(b.settled(task.ID), fleet.Merged)
	})
}

// TestAgentFailsAfterItsPullRequest: before a review the work is the agent's, after that it is not.
func TestAgentFailsAfterItsPullRequest(t *testing.T) {
	t.Parallel()
	run := func(_ context.Context, _ fleet.Job, report fleet.Report) error {
		report.PullRequest(3)
		pass(time.Minute)
		return errOuch
	}
	for name, c := range map[string]struct {
		review bool
		want   fleet.Status
	}{"before the review": {false, fleet.Retrying}, "in the review": {true, fleet.Reviewing}} {
		inBubble(t, run, func(t *testing.T, b *bundle) {
			task := b.settled(b.spawn(request()).ID)
			if c.review {
				if _, err := b.Advance(t.Context(), owner(), task.ID, fleet.Reviewing); err != nil {
					t.Fatalf("Advance: %v", err)
				}
			}
			b.pass(time.Minute)
			if got := b.get(task.ID); got.Status != c.want {
				t.Errorf("%s: %s, want %s", name, got.Status, c.want)
			}
		})
	}
}

// TestAdvanceLetsTheAttemptWork: an agent that looks after its pull request goes on while the host advances it.
func TestAdvanceLetsTheAttemptWork(t *testing.T) {
	t.Parallel()
	var interrupted causes
	run := func(ctx context.Context, job fleet.Job, report fleet.Report) error {
		report.PullRequest(42)
		return interrupted.silent(ctx, job, report)
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		for _, to := range []fleet.Status{fleet.Reviewing, fleet.Ready} {
			if _, err := b.Advance(t.Context(), owner(), task.ID, to); err != nil {
				t.Fatalf("Advance: %v", err)
			}
			synctest.Wait()
			interrupted.want(t, nil)
		}
		if _, err := b.Advance(t.Context(), owner(), task.ID, fleet.Merged); err != nil {
			t.Fatalf("Advance: %v", err)
		}
		synctest.Wait()
		interrupted.want(t, map[int]error{1: fleet.ErrStopped})
	})
}
