package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"dixie/spansanitizer"
)

const (
	firstStoreRetry   = 100 * time.Millisecond
	longestStoreRetry = 5 * time.Second
	// storeTimeout bounds one write of a worker, also of one that is shutting down.
	storeTimeout = 5 * time.Second
)

// work is one attempt from its delivery to its end. Its error asks for another delivery.
func (s *Service) work(ctx context.Context, a Attempt) error {
	// Registered before the task is taken up: a Stop comes either before that, and then the task cannot
	// be taken up, or finds the run.
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !s.register(a, cancel) {
		return nil
	}
	defer s.unregister(a)

	target := Target{Scope: Scope{All: true}, ID: a.TaskID, Attempt: a.Number}
	t, err := s.cfg.Store.Update(ctx, target, func(t Task) (Change, error) { return begin(t, now()) })
	if err != nil {
		return s.notTaken(ctx, a, err)
	}
	ctx, runCtx = t.inTrace(ctx), t.inTrace(runCtx)
	runCtx, cancelTimeout := context.WithTimeoutCause(runCtx, t.Timeout, ErrTimeout)
	defer cancelTimeout()

	r := s.newReport(ctx, target, cancel)
	if t.Attempt > 1 {
		r.Log(fmt.Sprintf("[fleet] attempt %d", t.Attempt))
	}
	failure := s.run(runCtx, Job{Task: t, Prompt: Prompt(t)}, r)
	s.finish(ctx, context.Cause(runCtx), target, r, failure)
	return nil
}

// notTaken tells an attempt that nobody needs any more from one to be delivered again.
func (s *Service) notTaken(ctx context.Context, a Attempt, err error) error {
	var conflict *ConflictError
	if isGone(err) || errors.As(err, &conflict) {
		return nil
	}
	s.log.WarnContext(ctx, "fleet_attempt_not_taken", "task_id", a.TaskID, "attempt", a.Number, "error", spansanitizer.TextOf(err))
	return fmt.Errorf("fleet: taking an attempt: %w", err)
}

func isGone(err error) bool { return errors.Is(err, ErrFenced) || errors.Is(err, ErrNotFound) }

// errPanic stands for a panic, whose value may quote anything.
var errPanic = errors.New("fleet: the runner panicked")

// run calls the Runner and survives it.
func (s *Service) run(ctx context.Context, job Job, r Report) (err error) {
	defer func() {
		if recover() != nil {
			err = &RunError{Reason: ReasonPanic, Err: errPanic}
		}
	}()
	if err := s.cfg.Runner.Run(ctx, job, r); err != nil {
		return fmt.Errorf("fleet: running: %w", err)
	}
	return nil
}

// finish commits how an attempt ended. cause is why its context did, nil when it has not.
func (s *Service) finish(ctx context.Context, cause error, target Target, r *report, failure error) {
	if failure != nil && (errors.Is(cause, ErrStopped) || errors.Is(context.Cause(ctx), ErrStopped)) {
		r.close()
		return // The task has ended or goes on without this attempt, and whoever took it away sees to that.
	}
	var step func(Task) (Change, error)
	switch {
	case failure == nil:
		step = func(t Task) (Change, error) { return succeed(t, now()) }
	case ctx.Err() != nil: // Of a shutdown, also where the time limit was first.
		r.Log("[fleet] interrupted by a shutdown")
		step = func(t Task) (Change, error) { return interrupt(t, now(), s.ephemeral) }
	default:
		known := asRunError(failure)
		if errors.Is(cause, ErrTimeout) {
			known = RunError{Reason: ReasonTimeout, ExitCode: known.ExitCode}
		}
		r.Log("[fleet] attempt failed: " + known.Reason)
		s.log.WarnContext(ctx, "fleet_attempt_failed", "task_id", target.ID, "attempt", target.Attempt,
			"reason", known.Reason, "permanent", known.Permanent)
		s.log.DebugContext(ctx, "fleet_attempt_error", "task_id", target.ID, "error", spansanitizer.TextOf(failure))
		step = func(t Task) (Change, error) {
			delay := max(s.cfg.RetryDelay(t.RetryCount), min(known.RetryAfter, maxRetryAfter))
			return fail(t, now(), known, delay)
		}
	}
	r.close()
	t, err := s.persist(ctx, target, step)
	switch {
	case err == nil:
		s.announce(context.WithoutCancel(ctx), eventFor(t))
	case errors.Is(err, errUnchanged) || isGone(err):
	default:
		s.log.ErrorContext(ctx, "fleet_outcome_lost", "task_id", target.ID, "attempt", target.Attempt, "error", spansanitizer.TextOf(err))
	}
}

// persist commits a worker's step. While the store is away it tries again, because an outcome that is
// not written is lost, until the service is closed or the task is taken away. Each try outlives that by a
// bounded time.
func (s *Service) persist(ctx context.Context, target Target, step func(Task) (Change, error)) (Task, error) {
	for delay := firstStoreRetry; ; delay = min(2*delay, longestStoreRetry) {
		t, err := s.write(ctx, target, step)
		if err == nil || !errors.Is(err, ErrStoreUnavailable) && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return t, err
		}
		pause := time.NewTimer(delay)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

func (s *Service) write(ctx context.Context, target Target, step func(Task) (Change, error)) (Task, error) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	t, err := s.cfg.Store.Update(bounded, target, step)
	if err != nil {
		return Task{}, fmt.Errorf("fleet: writing: %w", err)
	}
	return t, nil
}

// cleanReference makes a Runner's reference fit to be stored, without what it may be a part of.
func cleanReference(reference string) string {
	const limit = 128
	return strings.Clone(cut(strings.ToValidUTF8(strings.ReplaceAll(reference, "\x00", ""), ""), limit, ""))
}
