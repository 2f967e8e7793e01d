package fleet

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

const (
	// OverviewTasks is how many tasks an [Overview] has.
	OverviewTasks = 50
	// DefaultLogLines is how many lines [Service.Logs] returns when the caller does not say.
	DefaultLogLines = 200
)

// Overview is a scope's tasks at a glance.
type Overview struct {
	// Active, Completed and Failed count over all tasks. Completed work is completed or merged; what
	// was abandoned, rejected or cancelled counts as failed.
	Active    int
	Completed int
	Failed    int
	// Tasks are the newest 50, newest first.
	Tasks []Task
}

// Status returns the tasks of a scope. Errors: [ErrStoreUnavailable].
func (s *Service) Status(ctx context.Context, scope Scope) (Overview, error) {
	listing, err := s.cfg.Store.List(ctx, scope, OverviewTasks)
	if err != nil {
		return Overview{}, fmt.Errorf("fleet: listing: %w", err)
	}
	out := Overview{Tasks: listing.Tasks}
	for status, count := range listing.Counts {
		switch {
		case status.Active():
			out.Active += count
		case status.Succeeded():
			out.Completed += count
		default:
			out.Failed += count
		}
	}
	return out, nil
}

// Task returns one task. Errors: [ErrNotFound], [ErrStoreUnavailable].
func (s *Service) Task(ctx context.Context, scope Scope, id string) (Task, error) {
	id, err := parseID(id)
	if err != nil {
		return Task{}, err
	}
	t, err := s.cfg.Store.Get(ctx, scope, id)
	if err != nil {
		return Task{}, fmt.Errorf("fleet: reading: %w", err)
	}
	return t, nil
}

// Logs returns the last lines of a task's log, oldest first; lines below 1 counts as
// [DefaultLogLines], above [MaxLogLines] as that. Errors: [ErrNotFound], [ErrStoreUnavailable].
func (s *Service) Logs(ctx context.Context, scope Scope, id string, lines int) ([]string, error) {
	id, err := parseID(id)
	if err != nil {
		return nil, err
	}
	if lines < 1 {
		lines = DefaultLogLines
	}
	out, err := s.cfg.Store.Log(ctx, scope, id, min(lines, MaxLogLines))
	if err != nil {
		return nil, fmt.Errorf("fleet: reading a log: %w", err)
	}
	return out, nil
}

// Stop cancels a task and interrupts its work at once. A task that never really started gets its charge
// back. Errors: [ErrNotFound], [*ConflictError], [ErrStoreUnavailable].
func (s *Service) Stop(ctx context.Context, scope Scope, id string) (Task, error) {
	return s.change(ctx, scope, id, func(t Task) (Change, error) { return stop(t, now()) })
}

// Advance moves a task along the life of its pull request, when the host learns of it: reviewing,
// ready and merged; rejected and failed, from which the task goes on by itself to its next attempt or
// is abandoned. Errors: [ErrInvalidRequest] for any other state, [ErrNotFound], [*ConflictError],
// [ErrStoreUnavailable].
func (s *Service) Advance(ctx context.Context, scope Scope, id string, to Status) (Task, error) {
	switch to {
	case Reviewing, Ready, Merged, Rejected, Failed:
	case Proposed, Spawning, Running, PRCreated, Retrying, Abandoned, Completed, Cancelled:
		return Task{}, invalid("a task cannot be set to %s", to)
	default:
		return Task{}, invalid("there is no such status")
	}
	return s.change(ctx, scope, id, func(t Task) (Change, error) {
		return advance(t, now(), to, s.cfg.RetryDelay(t.RetryCount))
	})
}

// change commits a step that no worker made, and takes the task from the worker if it has ended.
func (s *Service) change(ctx context.Context, scope Scope, id string, step func(Task) (Change, error)) (Task, error) {
	id, err := parseID(id)
	if err != nil {
		return Task{}, err
	}
	t, err := s.cfg.Store.Update(ctx, Target{Scope: scope, ID: id}, step)
	if err != nil {
		return Task{}, fmt.Errorf("fleet: changing: %w", err)
	}
	s.interruptRun(t)
	s.announce(ctx, eventFor(t))
	return t, nil
}

// Delete removes a task that has ended, with its log. What it cost stays counted. Errors:
// [ErrNotFound], [*ConflictError], [ErrStoreUnavailable].
func (s *Service) Delete(ctx context.Context, scope Scope, id string) error {
	id, err := parseID(id)
	if err != nil {
		return err
	}
	if err := s.cfg.Store.Delete(ctx, scope, id); err != nil {
		return fmt.Errorf("fleet: deleting: %w", err)
	}
	return nil
}

// Health counts over all operators. Errors: [ErrStoreUnavailable].
func (s *Service) Health(ctx context.Context) (Health, error) {
	h, err := s.cfg.Store.Health(ctx)
	if err != nil {
		return Health{}, fmt.Errorf("fleet: counting: %w", err)
	}
	return h, nil
}

const uuidLength = 36

// parseID accepts the usual form of a UUID only. What is none cannot be a task's.
func parseID(id string) (string, error) {
	if len(id) != uuidLength || uuid.Validate(id) != nil {
		return "", ErrNotFound
	}
	return strings.ToLower(id), nil
}
