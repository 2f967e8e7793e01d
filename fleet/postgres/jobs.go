package postgres

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"dixie/fleet"
)

const (
	attemptQueue = "dixie_fleet"
	signalQueue  = "dixie_fleet_signals"
	// redelivery is how long an attempt waits that could not be taken up.
	redelivery = time.Second
	// deliveries is how often River hands a job out that keeps failing: as often as it can count. Putting
	// off, which is what the workers ask for, is not counted.
	deliveries = math.MaxInt16
)

const deleteJob = `DELETE FROM river_job WHERE id = $1`

// attemptArgs is the job that hands an attempt out.
type attemptArgs struct {
	TaskID  string `json:"task_id"`
	Attempt int    `json:"attempt"`
}

// Kind implements [river.JobArgs].
func (attemptArgs) Kind() string { return "dixie_fleet_attempt" }

// InsertOpts implements [river.JobArgsWithInsertOpts]. There is one job for an attempt at a time.
func (attemptArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue: attemptQueue, MaxAttempts: deliveries,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		}},
	}
}

// signalArgs is the job that publishes an event.
type signalArgs struct {
	MessageID string      `json:"message_id"`
	Event     fleet.Event `json:"event"`
}

// Kind implements [river.JobArgs].
func (signalArgs) Kind() string { return "dixie_fleet_signal" }

// InsertOpts implements [river.JobArgsWithInsertOpts].
func (signalArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: signalQueue, MaxAttempts: deliveries}
}

// insertJobs enqueues the task's attempt for a time, unless that is zero, and the event, if the store
// publishes and there is something to tell. It returns the job of the attempt, nil without one.
func (s *Store) insertJobs(ctx context.Context, tx pgx.Tx, t fleet.Task, runAt time.Time, e fleet.Event) (*int64, error) {
	var jobs []river.InsertManyParams
	if !runAt.IsZero() {
		opts := &river.InsertOpts{}
		if runAt.After(time.Now()) {
			// Only what has a time goes the way over River's scheduler, which takes some seconds.
			opts.ScheduledAt = runAt
		}
		jobs = append(jobs, river.InsertManyParams{Args: attemptArgs{TaskID: t.ID, Attempt: t.Attempt}, InsertOpts: opts})
	}
	if s.Publishes() && e.Type != "" {
		// A task has one event at most for each of its versions.
		id := fmt.Sprintf("%s/%d", t.ID, t.Version)
		jobs = append(jobs, river.InsertManyParams{Args: signalArgs{MessageID: id, Event: e}})
	}
	if len(jobs) == 0 {
		return nil, nil //nolint:nilnil // No job is a result.
	}
	inserted, err := s.jobs.InsertManyTx(ctx, tx, jobs)
	if err != nil {
		return nil, fmt.Errorf("enqueue: %w", err)
	}
	if runAt.IsZero() {
		return nil, nil //nolint:nilnil // No job is a result.
	}
	return &inserted[0].Job.ID, nil
}

// after asks River for another delivery. Unlike an error this is not counted, nor kept with the job.
func after(pause time.Duration) error {
	return river.JobSnooze(pause) //nolint:wrapcheck // It is a request and not an error.
}

// deleteJob takes a job away from River, in whatever state. That of a job at work is not missed: River
// writes down how a job ended only where it still is.
func (s *Store) deleteJob(ctx context.Context, tx pgx.Tx, id *int64) error {
	if id == nil {
		return nil
	}
	if _, err := tx.Exec(ctx, deleteJob, *id); err != nil {
		return fmt.Errorf("delete a job: %w", err)
	}
	return nil
}
