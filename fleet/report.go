package fleet

import (
	"context"
	"errors"
	"sync"
	"time"

	"dixie/spansanitizer"
)

const (
	// logFlushDelay is how long lines are collected, so that a talkative agent is not one write a line.
	logFlushDelay = 200 * time.Millisecond
	// logFlushLines is how many lines are collected at most; then whoever reports waits for the store.
	logFlushLines = 256
)

// report is the [Report] of one attempt.
type report struct {
	// commit writes a step, appendLog lines, both for this attempt.
	commit    func(step func(Task) (Change, error))
	appendLog func(lines []string)

	mu     sync.Mutex
	lines  []string    // GUARDED_BY(mu)
	timer  *time.Timer // GUARDED_BY(mu); set while lines wait
	closed bool        // GUARDED_BY(mu)

	// writing keeps the lines of two flushes in order.
	writing sync.Mutex
}

// newReport binds a report to an attempt. cancel is called when the task turns out to be no longer its
// own, which is how a worker learns of a stop by another process that its store has not told of.
func (s *Service) newReport(ctx context.Context, target Target, cancel context.CancelCauseFunc) *report {
	warned := false
	return &report{
		commit: func(step func(Task) (Change, error)) {
			_, err := s.persist(ctx, target, step)
			switch {
			case err == nil || errors.Is(err, errUnchanged):
			case isGone(err):
				cancel(ErrStopped)
			default:
				s.log.ErrorContext(ctx, "fleet_report_lost", "task_id", target.ID, "error", spansanitizer.TextOf(err))
			}
		},
		// The log is worth less than the work: when the store is away, lines are dropped.
		appendLog: func(lines []string) {
			bounded, done := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
			defer done()
			err := s.cfg.Store.AppendLog(bounded, target, lines)
			switch {
			case err == nil:
			case isGone(err):
				cancel(ErrStopped)
			case !warned:
				warned = true
				s.log.WarnContext(ctx, "fleet_log_lines_lost", "task_id", target.ID, "error", spansanitizer.TextOf(err))
			}
		},
	}
}

// Started implements [Report].
func (r *report) Started(reference string) {
	if !r.isClosed() {
		r.commit(func(t Task) (Change, error) { return started(t, now(), cleanReference(reference)) })
	}
}

// PullRequest implements [Report].
func (r *report) PullRequest(number int) {
	if number > 0 && !r.isClosed() {
		r.commit(func(t Task) (Change, error) { return proposePR(t, now(), number) })
	}
}

func (r *report) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// Log implements [Report].
func (r *report) Log(text string) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.lines = append(r.lines, logLines(text)...)
	full := len(r.lines) >= logFlushLines
	if !full && r.timer == nil {
		r.timer = time.AfterFunc(logFlushDelay, r.flush)
	}
	r.mu.Unlock()
	if full {
		r.flush()
	}
}

// flush writes the lines that wait.
func (r *report) flush() {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	lines := r.lines
	r.lines = nil
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	r.mu.Unlock()
	if len(lines) > 0 {
		r.appendLog(lines)
	}
}

// close writes what waits and takes no more. No flush is at work when it returns.
func (r *report) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.flush()
}
