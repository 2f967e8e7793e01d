package postgres

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

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
	err := errNoPublisher
	if w.store.cfg.Publish != nil {
		err = w.store.cfg.Publish(context.WithValue(ctx, messageKey{}, job.Args.MessageID), job.Args.Event)
	}
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
		"task_id", job.Args.Event.TaskID, "again_in_ms", pause.Milliseconds(), "error", spansanitizer.ErrorText(err.Error()))
	return after(pause)
}

// errNoPublisher cannot happen while all processes agree, see [Config].
var errNoPublisher = errors.New("this process does not publish")
