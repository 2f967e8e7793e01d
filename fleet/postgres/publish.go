package postgres

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"dixie/fleet"
	"dixie/spansanitizer"
)

const (
	publishers     = 4 // Events that are published at a time.
	publishTimeout = 30 * time.Second
	// An event that was not taken waits for a quarter of its age, within these.
	shortestPause = time.Second
	longestPause  = time.Minute
	pauseShare    = 4
)

// messageKey is the key of the message id in the context of Publish.
type messageKey struct{}

// MessageID returns the id of the event that [Config].Publish is called for, given its context: the same
// each time that the event is published, and never that of another one. Empty in any other context.
func MessageID(ctx context.Context) string {
	id, _ := ctx.Value(messageKey{}).(string)
	return id
}

// signalWorker publishes the events.
type signalWorker struct {
	river.WorkerDefaults[signalArgs]

	store *Store
}

// Timeout implements [river.Worker].
func (w *signalWorker) Timeout(*river.Job[signalArgs]) time.Duration { return publishTimeout }

// NextRetry implements [river.Worker]; it is asked after a panic.
func (w *signalWorker) NextRetry(*river.Job[signalArgs]) time.Time {
	return time.Now().Add(longestPause)
}

// Work implements [river.Worker].
func (w *signalWorker) Work(ctx context.Context, job *river.Job[signalArgs]) error {
	err := w.publish(context.WithValue(ctx, messageKey{}, job.Args.MessageID), job.Args.Event)
	if err == nil {
		if w.store.untold.CompareAndSwap(true, false) {
			w.store.log.InfoContext(ctx, "fleet_events_published_again")
		}
		return nil
	}
	pause := min(max(time.Since(job.CreatedAt)/pauseShare, shortestPause), longestPause)
	level := slog.LevelDebug // Many events wait through an outage, and each comes again and again.
	if w.store.untold.CompareAndSwap(false, true) {
		level = slog.LevelWarn
	}
	w.store.log.Log(ctx, level, "fleet_event_not_published", "event", string(job.Args.Event.Type),
		"task_id", job.Args.Event.TaskID, "again_in_ms", pause.Milliseconds(), "error", spansanitizer.TextOf(err))
	return after(pause)
}

var (
	// errNoPublisher cannot happen while all processes agree, see [Config].
	errNoPublisher = errors.New("this process does not publish")
	// errPublisherPanicked stands for a panic, whose value may be anything.
	errPublisherPanicked = errors.New("the publisher panicked")
)

// publish calls the host's publisher and survives it.
func (w *signalWorker) publish(ctx context.Context, e fleet.Event) (err error) {
	if w.store.cfg.Publish == nil {
		return errNoPublisher
	}
	defer func() {
		if recover() != nil {
			err = errPublisherPanicked
		}
	}()
	return w.store.cfg.Publish(ctx, e)
}
