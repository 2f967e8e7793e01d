package instruments

import "context"

// How an attempt or a task ended.
const (
	TaskCompleted = "completed"
	TaskFailed    = "failed"
	TaskRetrying  = "retrying"
	TaskCancelled = "cancelled"
)

// denials are the reasons of the standard witnesses.
func denials() []string {
	return []string{"tier_not_permitted", "tier_limit_exceeded", "budget_exceeded"}
}

// failures are the reasons that the fleet and its runners know.
func failures() []string {
	return []string{
		"timeout", "shutdown", "panic", "runner_error", "out_of_memory", "worker_lost", "rejected", "reported",
		"no_command", "start_failed", "exit", "signal", "interrupted",
		"finn_error", "circuit_open", "finn_unavailable", "turn_failed", "budget_exceeded", "rate_limited",
		"model_unavailable", "provider_error", "session_lost", "credential_refused", "request_refused",
	}
}

func (b *builder) fleet(i *Instruments) {
	admissions := []pair{{"admit", none}, {"deny", other}}
	for _, reason := range denials() {
		admissions = append(admissions, pair{"deny", reason})
	}
	i.admissions = b.tally("dixie.governance.admissions", "{decision}", "Tasks that were asked for, by decision and reason.",
		keys{"decision", "reason"}, admissions...)
	outcomes := []pair{{TaskCompleted, none}, {TaskCancelled, none}, {TaskFailed, other}, {TaskRetrying, other}}
	for _, reason := range failures() {
		outcomes = append(outcomes, pair{TaskFailed, reason}, pair{TaskRetrying, reason})
	}
	i.outcomes = b.tally("dixie.fleet.task.outcomes", "{task}", "Tasks that ended, and attempts that another one follows.",
		keys{outcomeKey, "reason"}, outcomes...)
}

// Admitted counts a task that was admitted.
func (i *Instruments) Admitted(ctx context.Context) {
	if i != nil {
		i.admissions.add(ctx, 1, pair{"admit", none})
	}
}

// Denied counts a task that was refused.
func (i *Instruments) Denied(ctx context.Context, reason string) {
	if i != nil {
		i.admissions.add(ctx, 1, pair{"deny", reason}, pair{"deny", other})
	}
}

// TaskEnded counts a task that ended, or an attempt that another one follows. reason is empty unless it failed.
func (i *Instruments) TaskEnded(ctx context.Context, outcome, reason string) {
	if i != nil {
		i.outcomes.add(ctx, 1, pair{outcome, reason}, pair{outcome, other}, pair{outcome, none})
	}
}
