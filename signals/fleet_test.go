package signals_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"dixie/fleet"
	"dixie/fleet/postgres"
	"dixie/signals"
)

// generous admits everything.
type generous struct{}

func (generous) Decide(asked fleet.Request, counted fleet.Snapshot) fleet.Decision {
	return fleet.Decision{Admit: true, Tier: asked.Tier, Active: counted.Active, Limit: 1000, CostMicroUSD: 1}
}

// unreliable publishes, and fails at the first time that it is asked for an event: half of them before they
// are stored, and half of them after.
type unreliable struct {
	p *signals.Publisher

	mu    sync.Mutex
	calls map[string]int
}

func (u *unreliable) publish(ctx context.Context, e fleet.Event) error {
	id := postgres.MessageID(ctx)
	u.mu.Lock()
	u.calls[id]++
	first, before := u.calls[id] == 1, len(u.calls)%2 == 0
	u.mu.Unlock()
	if first && before {
		return errors.New("not now")
	}
	if err := u.p.Fleet(ctx, id, e); err != nil {
		return err
	}
	if first {
		return errors.New("the acknowledgement is lost")
	}
	return nil
}

// TestFleetOnPostgres has tasks fail once and then succeed, on a store that publishes, by a publisher that
// fails at first, and wants each change in the stream once.
func TestFleetOnPostgres(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	p := connect(t, nats.ClientURL())
	publisher := &unreliable{p: p, calls: make(map[string]int)}
	pool, err := pgxpool.New(t.Context(), database.Migrated(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store, err := postgres.New(postgres.Config{Pool: pool, Publish: publisher.publish})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	tried := make(map[string]bool)
	service, err := fleet.New(fleet.Config{
		Store: store, Policy: generous{}, RetryDelay: func(int) time.Duration { return 0 },
		Runner: fleet.RunnerFunc(func(_ context.Context, job fleet.Job, _ fleet.Report) error {
			mu.Lock()
			defer mu.Unlock()
			if !tried[job.Task.ID] {
				tried[job.Task.ID] = true
				return errors.New("this attempt fails")
			}
			return nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	const tasks = 4
	want := make(map[string]int)
	for range tasks {
		spawned, err := service.Spawn(inTrace(t.Context()), fleet.SpawnRequest{
			Operator: alice, Tier: "architect", TaskType: "bug_fix", Description: "Fix the door", Repository: "acme/house",
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []fleet.EventType{fleet.AgentSpawned, fleet.AgentRetrying, fleet.AgentCompleted} {
			want[string(kind)+" "+spawned.Task.ID] = 1
		}
	}
	eventually(t, "all published", func() bool { return p.Stats().FleetPublished >= uint64(len(want))+uint64(len(want))/2 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := errors.Join(service.Close(ctx), store.Stop(ctx)); err != nil {
		t.Error(err)
	}
	got := make(map[string]int)
	for _, m := range stored(t, nats.ClientURL()) {
		kind, _ := strings.CutPrefix(m.subject, "dixie.fleet.")
		task, _, _ := strings.Cut(m.id, "/")
		if m.trace != parent || m.state != state { // T4.6
			t.Errorf("%s of %s has the trace %q, %q, want %q, %q", kind, task, m.trace, m.state, parent, state)
		}
		got[strings.ToUpper(kind)+" "+task]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	publisher.mu.Lock()
	defer publisher.mu.Unlock()
	for id, calls := range publisher.calls {
		if calls < 2 {
			t.Errorf("%s was published without a failure", id)
		}
	}
}
