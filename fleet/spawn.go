package fleet

import (
	"context"
	"fmt"
	"unicode/utf8"

	"dixie/internal/tracecontext"
)

// Spawned is what became of a spawn.
type Spawned struct {
	Task Task
	// Decision is the admission's, with the task's cost in its budget. Of a replay it has the budget as
	// it is now, and the cost that the task was charged.
	Decision Decision
	// Replayed says that Task is the one of an earlier request with the same idempotency key.
	Replayed bool
}

// Spawn admits a task and returns as soon as it is stored and charged; the work goes on in the
// background, and the task comes to an end by itself, or to a pull request. Errors: [*DeniedError],
// [ErrInvalidRequest], [ErrIdempotencyConflict], [ErrStoreUnavailable] (also once the service is
// closed).
//
// The task remembers the trace that ctx belongs to, and its attempts go on in it.
func (s *Service) Spawn(ctx context.Context, r SpawnRequest) (Spawned, error) {
	ctx, span := s.startSpawn(ctx, r)
	defer span.End()
	spawned, err := s.spawn(ctx, r)
	noteSpawned(span, spawned, err)
	return spawned, err
}

func (s *Service) spawn(ctx context.Context, r SpawnRequest) (Spawned, error) {
	if s.isClosed() {
		return Spawned{}, fmt.Errorf("%w: the service is closed", ErrStoreUnavailable)
	}
	r = r.withDefaults()
	if err := r.validate(); err != nil {
		return Spawned{}, err
	}
	route, reason, err := s.cfg.Catalog.route(r.TaskType, r.AgentType, r.Model)
	if err != nil {
		return Spawned{}, err
	}
	task, err := r.task(route, now())
	if err != nil {
		return Spawned{}, err
	}
	task.TraceParent, task.TraceState = tracecontext.Texts(ctx)
	asked := Request{
		Operator: r.Operator, Tier: r.Tier, TaskType: r.TaskType,
		DescriptionLength: utf8.RuneCountInString(r.Description),
	}
	event := taskEvent(AgentSpawned, task)
	event.RoutingReason = reason
	admission, err := s.cfg.Store.Admit(ctx, NewTask{Task: task, IdempotencyKey: r.IdempotencyKey, Event: event},
		func(counted Snapshot) Decision { return s.decide(ctx, asked, counted) })
	if err != nil {
		return Spawned{}, fmt.Errorf("fleet: admitting: %w", err)
	}
	if admission.Replayed {
		return s.replayed(asked, admission), nil
	}
	decision := admission.Decision
	if !decision.Admit {
		denied := taskEvent(SpawnDenied, task)
		denied.TaskID, denied.Branch, denied.Reason = "", "", decision.Reason
		s.emit(ctx, denied)
		return Spawned{}, &DeniedError{Decision: decision}
	}
	s.log.InfoContext(ctx, "fleet_task_spawned", "task_id", admission.Task.ID)
	s.announce(ctx, event)
	decision.BudgetSpent += decision.CostMicroUSD
	decision.BudgetRemaining = max(0, decision.BudgetRemaining-decision.CostMicroUSD)
	return Spawned{Task: admission.Task, Decision: decision}, nil
}

// replayed answers for an earlier task: its own cost, and the budget of now, of which the cost is part.
func (s *Service) replayed(asked Request, a Admission) Spawned {
	decision := s.cfg.Policy.Decide(asked, a.Snapshot)
	decision.Admit, decision.Reason = true, ""
	decision.CostMicroUSD, decision.Cost = a.Task.CostMicroUSD, a.Task.Cost
	return Spawned{Task: a.Task, Decision: decision, Replayed: true}
}

// Preview is the decision that a spawn would get now. It changes nothing and promises nothing. Errors:
// [ErrInvalidRequest] for a task type that the catalog does not have, [ErrStoreUnavailable].
func (s *Service) Preview(ctx context.Context, r Request) (Decision, error) {
	if _, _, err := s.cfg.Catalog.route(r.TaskType, "", ""); err != nil {
		return Decision{}, err
	}
	ctx, span := s.startCheck(ctx)
	defer span.End()
	counted, err := s.cfg.Store.Snapshot(ctx, r.Operator, now())
	if err != nil {
		err = fmt.Errorf("fleet: counting: %w", err)
		span.Fail(err)
		return Decision{}, err
	}
	decision := s.cfg.Policy.Decide(r, counted)
	noteDecision(span, decision)
	return decision, nil
}
