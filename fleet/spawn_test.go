package fleet_test

import (
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
	"dixie/fleet/memory"
)

func TestSpawnAnswers(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		spawned, err := b.Spawn(t.Context(), request())
		if err != nil {
			t.Fatalf("Spawn: %v", err)
		}
		got := spawned.Task
		if !regexp.MustCompile(`^fleet/[0-9a-f]{12}-[0-9a-f]{8}$`).MatchString(got.Branch) || strings.Contains(got.Branch, "A11CE") {
			t.Errorf("branch %q", got.Branch)
		}
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(got.ContextHash) {
			t.Errorf("context hash %q", got.ContextHash)
		}
		now := time.Now().UTC()
		want := fleet.Task{
			ID: got.ID, Operator: alice, Tier: "architect", TaskType: "bug_fix", Description: "Fix the door",
			Repository: "acme/house", BaseBranch: "main", AgentType: fleet.ClaudeCode, Model: "claude-opus-4-6",
			Branch: got.Branch, ContextHash: got.ContextHash, Status: fleet.Proposed, Version: 1, Attempt: 1,
			MaxRetries: 3, Timeout: 2 * time.Hour, PromptTokens: 8000, Limit: 3, CostMicroUSD: 4000,
			Cost: fleet.CostBreakdown{Base: 1, Final: 12}, CreatedAt: now, UpdatedAt: now,
			History: []fleet.Passage{{Status: fleet.Proposed, At: now}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("task (-want +got):\n%s", diff)
		}
		wantDecision := fleet.Decision{
			Admit: true, WitnessCount: 2, Tier: "architect", Limit: 3, CostMicroUSD: 4000, Cost: want.Cost,
			BudgetLimit: 100_000, BudgetSpent: 4000, BudgetRemaining: 96_000,
		}
		if diff := cmp.Diff(wantDecision, spawned.Decision); diff != "" {
			t.Errorf("decision (-want +got):\n%s", diff)
		}
		other := b.spawn(request())
		if other.ID == got.ID || other.Branch == got.Branch || other.ContextHash != got.ContextHash {
			t.Errorf("a second spawn gave %s on %s", other.ID, other.Branch)
		}
		first := b.events.all[0]
		wantEvent := fleet.Event{
			Type: fleet.AgentSpawned, TaskID: got.ID, Operator: alice, At: now, TaskType: "bug_fix",
			AgentType: fleet.ClaudeCode, Branch: got.Branch, Tier: "architect", Model: "claude-opus-4-6", RoutingReason: "task_type",
		}
		if diff := cmp.Diff(wantEvent, first); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	})
}

func TestSpawnRoutes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ taskType, agent, model, wantAgent, wantModel string }{
		{"bug_fix", "", "", fleet.ClaudeCode, "claude-opus-4-6"},
		{"feature", "", "", fleet.ClaudeCode, "claude-opus-4-6"},
		{"refactor", "", "", fleet.Codex, "codex-mini-latest"},
		{"review", fleet.Gemini, "", fleet.Gemini, "gemini-2.5-pro"},
		{"docs", "", "", fleet.ClaudeCode, "claude-sonnet-4-5"},
		{"docs", "", "openai/Codex-Max:1", fleet.Codex, "openai/Codex-Max:1"},
		{"docs", fleet.Gemini, "gemini-2.5-flash", fleet.Gemini, "gemini-2.5-flash"},
		{"docs", "", "something-else", fleet.ClaudeCode, "something-else"},
		{"docs", fleet.Codex, "", "", ""},
		{"docs", fleet.Codex, "gemini-2.5-pro", "", ""},
		{"docs", "nobody", "", "", ""},
		{"gardening", "", "", "", ""},
		{"", "", "", "", ""},
	} {
		inBubble(t, hang, func(t *testing.T, b *bundle) {
			r := request()
			r.TaskType, r.AgentType, r.Model = c.taskType, c.agent, c.model
			spawned, err := b.Spawn(t.Context(), r)
			if c.wantAgent == "" {
				if !errors.Is(err, fleet.ErrInvalidRequest) {
					t.Errorf("%+v: %v, want ErrInvalidRequest", c, err)
				}
				return
			}
			if err != nil || spawned.Task.AgentType != c.wantAgent || spawned.Task.Model != c.wantModel {
				t.Errorf("%+v: %s, %s, %v", c, spawned.Task.AgentType, spawned.Task.Model, err)
			}
		})
	}
}

func TestSpawnBounds(t *testing.T) {
	t.Parallel()
	many := func(n int) map[string]string {
		out := make(map[string]string)
		for i := range n {
			out[strings.Repeat("k", i+1)] = "v"
		}
		return out
	}
	number := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		change func(*fleet.SpawnRequest)
		field  string // Empty when it is permitted.
	}{
		"no operator":            {func(r *fleet.SpawnRequest) { r.Operator = "" }, "operator"},
		"empty description":      {func(r *fleet.SpawnRequest) { r.Description = "" }, "description"},
		"blank description":      {func(r *fleet.SpawnRequest) { r.Description = " \n\t" }, "description"},
		"longest description":    {func(r *fleet.SpawnRequest) { r.Description = strings.Repeat("ü", 10_000) }, ""},
		"too long description":   {func(r *fleet.SpawnRequest) { r.Description = strings.Repeat("ü", 10_001) }, "description"},
		"enormous description":   {func(r *fleet.SpawnRequest) { r.Description = strings.Repeat("x", 50_000) }, "description"},
		"NUL in the description": {func(r *fleet.SpawnRequest) { r.Description = "a\x00b" }, "description"},
		"broken UTF-8":           {func(r *fleet.SpawnRequest) { r.Description = "a\xff" }, "description"},
		"blank repository":       {func(r *fleet.SpawnRequest) { r.Repository = "  " }, "repository"},
		"longest repository":     {func(r *fleet.SpawnRequest) { r.Repository = strings.Repeat("r", 256) }, ""},
		"too long repository":    {func(r *fleet.SpawnRequest) { r.Repository = strings.Repeat("r", 257) }, "repository"},
		"line break in it":       {func(r *fleet.SpawnRequest) { r.Repository = "a\nb" }, "repository"},
		"good branch":            {func(r *fleet.SpawnRequest) { r.BaseBranch = "release/1.2_x-y" }, ""},
		"space in the branch":    {func(r *fleet.SpawnRequest) { r.BaseBranch = "a b" }, "baseBranch"},
		"branch like an option":  {func(r *fleet.SpawnRequest) { r.BaseBranch = "-x" }, "baseBranch"},
		"too long branch":        {func(r *fleet.SpawnRequest) { r.BaseBranch = strings.Repeat("b", 129) }, "baseBranch"},
		"odd model":              {func(r *fleet.SpawnRequest) { r.Model = "a;b" }, "model"},
		"too long model":         {func(r *fleet.SpawnRequest) { r.Model = strings.Repeat("m", 129) }, "model"},
		"no retries":             {func(r *fleet.SpawnRequest) { r.MaxRetries = number(0) }, ""},
		"most retries":           {func(r *fleet.SpawnRequest) { r.MaxRetries = number(10) }, ""},
		"too many retries":       {func(r *fleet.SpawnRequest) { r.MaxRetries = number(11) }, "maxRetries"},
		"negative retries":       {func(r *fleet.SpawnRequest) { r.MaxRetries = number(-1) }, "maxRetries"},
		"no time":                {func(r *fleet.SpawnRequest) { r.TimeoutMinutes = number(0) }, "timeoutMinutes"},
		"a day":                  {func(r *fleet.SpawnRequest) { r.TimeoutMinutes = number(1440) }, ""},
		"more than a day":        {func(r *fleet.SpawnRequest) { r.TimeoutMinutes = number(1441) }, "timeoutMinutes"},
		"20 overrides":           {func(r *fleet.SpawnRequest) { r.ContextOverrides = many(20) }, ""},
		"21 overrides":           {func(r *fleet.SpawnRequest) { r.ContextOverrides = many(21) }, "contextOverrides"},
		"empty key":              {func(r *fleet.SpawnRequest) { r.ContextOverrides = map[string]string{"": "v"} }, "contextOverrides"},
		"long key":               {func(r *fleet.SpawnRequest) { r.ContextOverrides = map[string]string{strings.Repeat("k", 65): "v"} }, "contextOverrides"},
		"long value":             {func(r *fleet.SpawnRequest) { r.ContextOverrides = map[string]string{"k": strings.Repeat("v", 4001)} }, "contextOverrides"},
		"good idempotency key":   {func(r *fleet.SpawnRequest) { r.IdempotencyKey = strings.Repeat("k", 126) + "_-" }, ""},
		"odd idempotency key":    {func(r *fleet.SpawnRequest) { r.IdempotencyKey = "a b" }, "Idempotency-Key"},
		"long idempotency key":   {func(r *fleet.SpawnRequest) { r.IdempotencyKey = strings.Repeat("k", 129) }, "Idempotency-Key"},
	} {
		inBubble(t, hang, func(t *testing.T, b *bundle) {
			r := request()
			c.change(&r)
			_, err := b.Spawn(t.Context(), r)
			switch {
			case c.field == "" && err != nil:
				t.Errorf("%s: %v", name, err)
			case c.field != "" && (!errors.Is(err, fleet.ErrInvalidRequest) || !strings.HasPrefix(err.Error(), fleet.ErrInvalidRequest.Error()+": "+c.field)):
				t.Errorf("%s: %v, want ErrInvalidRequest about %s", name, err, c.field)
			}
		})
	}
}

func TestSpawnDenied(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		for range 3 {
			b.spawn(request())
		}
		_, err := b.Spawn(t.Context(), request())
		var denied *fleet.DeniedError
		if !errors.As(err, &denied) || denied.Decision.Reason != "tier_limit_exceeded" || denied.Decision.Active != 3 {
			t.Fatalf("Spawn: %v, want a denial", err)
		}
		if strings.Contains(err.Error(), alice) {
			t.Errorf("the error names the operator: %v", err)
		}
		last := b.events.all[len(b.events.all)-1]
		if last.Type != fleet.SpawnDenied || last.TaskID != "" || last.Reason != "tier_limit_exceeded" || last.Operator != alice {
			t.Errorf("event %+v", last)
		}
		if spent := b.spent(); spent != 12_000 {
			t.Errorf("spent %d, want 12000", spent)
		}
	})
}

func TestSpawnAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		admitted, denied := 0, 0
		for range 60 {
			wg.Go(func() {
				_, err := b.Spawn(t.Context(), request())
				mu.Lock()
				defer mu.Unlock()
				var refusal *fleet.DeniedError
				switch {
				case err == nil:
					admitted++
				case errors.As(err, &refusal):
					denied++
				default:
					t.Errorf("Spawn: %v", err)
				}
			})
		}
		wg.Wait()
		if admitted != 3 || denied != 57 || b.spent() != 12_000 {
			t.Errorf("%d admitted, %d denied, %d spent", admitted, denied, b.spent())
		}
	})
}

func TestSpawnIsIdempotentByKey(t *testing.T) {
	t.Parallel()
	inBubble(t, doNothing, func(t *testing.T, b *bundle) {
		r := request()
		r.IdempotencyKey = "key-1"
		first := b.spawn(r)
		b.want(b.settled(first.ID), fleet.Completed)
		again, err := b.Spawn(t.Context(), r)
		if err != nil || !again.Replayed || again.Task.ID != first.ID || again.Task.Status != fleet.Completed {
			t.Fatalf("Spawn again: %+v, %v; want the same task", again, err)
		}
		if d := again.Decision; !d.Admit || d.CostMicroUSD != 4000 || d.BudgetSpent != 4000 || d.BudgetRemaining != 96_000 || d.Cost != first.Cost {
			t.Errorf("decision of a replay: %+v", d)
		}
		// Saying what is the default anyway is the same request.
		retries := fleet.DefaultMaxRetries
		r.BaseBranch, r.MaxRetries = fleet.DefaultBaseBranch, &retries
		if again, err = b.Spawn(t.Context(), r); err != nil || !again.Replayed {
			t.Errorf("Spawn with defaults spelled out: %+v, %v; want the same task", again, err)
		}
		for name, change := range map[string]func(*fleet.SpawnRequest){
			"description": func(r *fleet.SpawnRequest) { r.Description += "!" },
			"retries":     func(r *fleet.SpawnRequest) { n := 1; r.MaxRetries = &n },
			"overrides":   func(r *fleet.SpawnRequest) { r.ContextOverrides = map[string]string{"a": "b"} },
			"model":       func(r *fleet.SpawnRequest) { r.Model = "claude-opus-4-6" },
		} {
			other := r
			change(&other)
			if _, err := b.Spawn(t.Context(), other); !errors.Is(err, fleet.ErrIdempotencyConflict) {
				t.Errorf("Spawn with another %s: %v, want ErrIdempotencyConflict", name, err)
			}
		}
		if spent := b.spent(); spent != 4000 {
			t.Errorf("spent %d, want one charge", spent)
		}
	})
}

func TestPreviewChangesNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		b.spawn(request())
		asked := fleet.Request{Operator: alice, Tier: "builder", TaskType: "docs", DescriptionLength: 7}
		want := fleet.Decision{
			Admit: true, WitnessCount: 2, Tier: "builder", Active: 1, Limit: 3, CostMicroUSD: 4000,
			BudgetLimit: 100_000, BudgetSpent: 4000, BudgetRemaining: 96_000, Cost: fleet.CostBreakdown{Base: 1, Final: 7},
		}
		for range 5 {
			got, err := b.Preview(t.Context(), asked)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Fatalf("Preview: %v (-want +got):\n%s", err, diff)
			}
		}
		asked.TaskType = "gardening"
		if _, err := b.Preview(t.Context(), asked); !errors.Is(err, fleet.ErrInvalidRequest) {
			t.Errorf("Preview of an unknown type: %v, want ErrInvalidRequest", err)
		}
	})
}

func TestNewReportsAllProblems(t *testing.T) {
	t.Parallel()
	_, err := fleet.New(fleet.Config{Workers: -1, Catalog: fleet.Catalog{"x": {}}})
	if err == nil {
		t.Fatal("New without anything must fail")
	}
	for _, word := range []string{"Store", "Runner", "Policy", "Workers", `"x"`} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not reported: %v", word, err)
		}
	}
}

func TestSpawnAfterClose(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		if err := b.Close(t.Context()); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if _, err := b.Spawn(t.Context(), request()); !errors.Is(err, fleet.ErrStoreUnavailable) {
			t.Errorf("Spawn: %v, want ErrStoreUnavailable", err)
		}
		if err := b.Start(t.Context()); err != nil {
			t.Errorf("Start after Close: %v", err)
		}
	})
}

func BenchmarkSpawn(b *testing.B) {
	service, err := fleet.New(fleet.Config{
		Store: memory.New(memory.Config{MaxFinishedPerOperator: 50}), Runner: fleet.RunnerFunc(doNothing), Policy: admitAll{},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		spawned, err := service.Spawn(b.Context(), request())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := service.Stop(b.Context(), owner(), spawned.Task.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// admitAll is a policy without a limit.
type admitAll struct{}

func (admitAll) Decide(fleet.Request, fleet.Snapshot) fleet.Decision {
	return fleet.Decision{Admit: true}
}
