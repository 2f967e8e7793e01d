package signals

import (
	"context"
	"errors"
	"time"

	"dixie/spansanitizer"
)

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	// maxUnanswered is how often a signal is sent while the stream is there and says nothing: that stream
	// does not acknowledge, or others have reasons that we do not know, and the next one should have its turn.
	maxUnanswered = 5
	// lossInterval is how often losses are logged, at most.
	lossInterval = time.Minute
)

// worker is what only its goroutine knows.
type worker struct {
	p          *Publisher
	pause      time.Duration // The next one; 0 after a success.
	unanswered int           // Attempts for the head of the queue.
	revived    time.Time
	outage     outage
	losses     losses
}

// step is what to do after a step: wait for a time, or until something happens.
type step struct {
	pause time.Duration
	// idle waits for news. While there is trouble they make no difference.
	idle bool
}

// work publishes what is buffered until the queue is finished, or the publisher's life ends.
func (p *Publisher) work() {
	defer close(p.done)
	w := &worker{p: p}
	for {
		next := w.step(p.life)
		untilReport := w.losses.report(p.life, p)
		// A link may still be down here: nothing is left that would need it.
		if p.life.Err() != nil || p.queue.finished() {
			w.losses.at = time.Time{}
			w.losses.report(p.life, p)
			return
		}
		w.wait(next, untilReport)
	}
}

// wait waits for what the step wants, and no longer than until there is a loss to report, if that is not 0.
func (w *worker) wait(next step, untilReport time.Duration) {
	if !next.idle && next.pause == 0 {
		return
	}
	var news <-chan struct{}
	var pause, report <-chan time.Time
	if next.idle {
		news = w.p.news
	}
	if next.pause > 0 {
		pause = time.After(next.pause)
	}
	if untilReport > 0 {
		report = time.After(untilReport)
	}
	select {
	case <-w.p.life.Done():
	case <-w.p.changed:
	case <-news:
	case <-pause:
	case <-report:
	}
}

// later is a longer pause than the one before.
func (w *worker) later() step {
	w.pause = min(max(2*w.pause, firstPause), lastPause)
	return step{pause: w.pause}
}

func (w *worker) step(ctx context.Context) step {
	p := w.p
	l := p.link.Load()
	if err := l.connected(); err != nil {
		w.outage.begin(ctx, p, err)
		if l.state.Load() == linkDead {
			return w.revive()
		}
		return step{pause: reconnectWait}
	}
	seen, lookErr := w.lookIfDue(ctx, l)
	s, ok := p.queue.head()
	if !ok {
		if lookErr != nil {
			return w.later()
		}
		w.outage.end(ctx, p)
		w.pause = 0
		return step{idle: true}
	}
	err := p.publishBuffered(ctx, l, s, seen)
	switch {
	case err == nil:
		w.outage.end(ctx, p)
		return w.next(published)
	case errors.Is(err, ErrRefused):
		w.losses.why = err
		return w.next(failed)
	case ctx.Err() != nil || l.connected() != nil:
		return step{} // The attempt does not count.
	}
	w.outage.begin(ctx, p, err)
	p.lookDue.Store(true)
	if seen && errors.Is(err, context.DeadlineExceeded) {
		w.unanswered++
	}
	if w.unanswered >= maxUnanswered {
		w.losses.why = err
		return w.next(failed)
	}
	return w.later()
}

// next takes the head off the queue.
func (w *worker) next(end outcome) step {
	w.p.queue.pop(end)
	w.pause, w.unanswered = 0, 0
	return step{}
}

// lookIfDue sees after the stream when something has happened to it, and says whether it is there. Signals
// are sent even if it cannot be seen.
func (w *worker) lookIfDue(ctx context.Context, l *link) (seen bool, err error) {
	if !w.p.lookDue.Swap(false) {
		return false, nil
	}
	err = w.p.look(ctx, l)
	switch {
	case err == nil:
		return true, nil
	case notForUs(err):
		return false, nil
	case ctx.Err() != nil:
		return false, err
	}
	w.p.lookDue.Store(true)
	w.outage.begin(ctx, w.p, err)
	return false, err
}

// revive replaces a client that has given up, as often as a client would reconnect.
func (w *worker) revive() step {
	if wait := reconnectWait - time.Since(w.revived); wait > 0 {
		return step{pause: wait}
	}
	l, err := w.p.open()
	if err == nil {
		w.p.link.Store(l)
	}
	w.revived = time.Now()
	return step{}
}

// outage is a time without success, which is told of twice.
type outage struct {
	since time.Time // Zero without one.
	from  Stats
}

func (o *outage) begin(ctx context.Context, p *Publisher, why error) {
	if !o.since.IsZero() || ctx.Err() != nil {
		return
	}
	o.since, o.from = time.Now(), p.Stats()
	p.log.WarnContext(ctx, "signals_interrupted", "error", spansanitizer.TextOf(why), "buffered", o.from.Buffered)
}

func (o *outage) end(ctx context.Context, p *Publisher) {
	if o.since.IsZero() {
		return
	}
	now := p.Stats()
	p.log.InfoContext(ctx, "signals_resumed", "outage_ms", time.Since(o.since).Milliseconds(),
		"buffered", now.Buffered, "dropped", now.Dropped-o.from.Dropped, "failed", now.Failed-o.from.Failed)
	o.since = time.Time{}
}

// losses are told of together.
type losses struct {
	at   time.Time // Of the last report.
	told Stats
	why  error // The last reason for a signal that failed.
}

// report logs what was lost since the last report, and returns when there will be something to report: 0
// if there is nothing.
func (r *losses) report(ctx context.Context, p *Publisher) time.Duration {
	now := p.Stats()
	dropped, failed := now.Dropped-r.told.Dropped, now.Failed-r.told.Failed
	if dropped+failed == 0 {
		return 0
	}
	if wait := lossInterval - time.Since(r.at); wait > 0 {
		return wait
	}
	attrs := []any{"dropped", dropped, "failed", failed, "buffered", now.Buffered}
	if r.why != nil {
		attrs = append(attrs, "error", spansanitizer.TextOf(r.why))
	}
	p.log.WarnContext(ctx, "signals_lost", attrs...)
	r.at, r.told, r.why = time.Now(), now, nil
	return 0
}
