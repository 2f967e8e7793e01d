package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"dixie/internal/pgtest"
	"dixie/migrate"
	"dixie/reputation"
	"dixie/reputation/postgres"
	"dixie/reputation/reputationtest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	reputationtest.Run(t, func(t *testing.T) reputation.Store {
		t.Helper()
		return postgres.New(open(t))
	})
}

func signal(agent string, score float64) reputation.Event {
	return reputation.Event{ID: uuid.NewString(), AgentID: agent, Type: reputation.QualitySignal, Score: &score}
}

// verify holds a store to its log.
func verify(t *testing.T, store reputation.Store, events int) {
	t.Helper()
	report, err := reputation.Verify(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || report.Events != events {
		t.Errorf("%+v, want %d events that everything follows from", report, events)
	}
}

// TestReplicas records through two services with pools of their own: what each acknowledged is there once,
// and everything follows from the log, also when another process reads it.
func TestReplicas(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	services := []*reputation.Service{
		reputation.NewService(postgres.New(connect(t, url)), reputation.Config{}),
		reputation.NewService(postgres.New(connect(t, url)), reputation.Config{}),
	}
	const writers, each = 16, 25
	var wg sync.WaitGroup
	var duplicates atomic.Int32
	for i := range writers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for range each {
				event := signal(fmt.Sprintf("agent-%d", random.IntN(5)), random.Float64())
				for _, service := range services { // The second is told what the first knows already.
					r, err := service.Record(t.Context(), event)
					if err != nil {
						t.Error(err)
						return
					}
					if r.Duplicate {
						duplicates.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	if duplicates.Load() != writers*each {
		t.Errorf("%d duplicates, want %d", duplicates.Load(), writers*each)
	}
	verify(t, postgres.New(connect(t, url)), writers*each)
}

// TestRebuildMends changes what is stored behind the store's back, which only an operator can, and has it
// computed anew from the log.
func TestRebuildMends(t *testing.T) {
	t.Parallel()
	pool := open(t)
	store := postgres.New(pool)
	events := 0
	for _, batch := range reputationtest.Random(rand.New(rand.NewPCG(1, 2)), 60, 20) {
		outcomes, err := store.Apply(t.Context(), batch, reputation.FoldBatch)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outcomes {
			if o.Err == nil && !o.Duplicate {
				events++
			}
		}
	}
	verify(t, store, events)
	for _, damage := range []string{
		`UPDATE reputation_aggregates SET data = jsonb_set(data::jsonb, '{sample_count}', '7')::json WHERE agent_id = 'agent-1'`,
		`DELETE FROM reputation_aggregates WHERE agent_id = 'agent-2'`,
		`UPDATE reputation_population SET mean = 0.1, members = 99, agents = 3`,
	} {
		if _, err := pool.Exec(t.Context(), damage); err != nil {
			t.Fatal(err)
		}
	}
	agents, err := store.Rebuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	verify(t, store, events)
	if count, err := store.Count(t.Context()); err != nil || count != agents {
		t.Errorf("%d agents are counted, %v; %d were rebuilt", count, err, agents)
	}
}

// TestHeldStill: a process that holds still in the middle of a batch does not keep the others from recording
// for longer than the server waits for it, and has recorded nothing itself.
func TestHeldStill(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	entry := func(agent string) []reputation.Entry {
		t.Helper()
		e, err := reputation.NewEntry(signal(agent, 0.5), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return []reputation.Entry{e}
	}
	halted, other := postgres.New(connect(t, url)), postgres.New(connect(t, url))
	_, err := halted.Apply(t.Context(), entry("a"), func(loaded reputation.Loaded, batch []reputation.Entry) reputation.Changes {
		// Ten seconds from now the server gives the one that waits for this function up.
		if _, err := other.Apply(t.Context(), entry("b"), reputation.FoldBatch); err != nil {
			t.Errorf("the other process: %v", err)
		}
		return reputation.FoldBatch(loaded, batch)
	})
	if !errors.Is(err, reputation.ErrStoreUnavailable) {
		t.Errorf("the one that held still: %v", err)
	}
	verify(t, other, 1)
}

// TestDatabaseAway: requests end in time with the sentinel, nothing is half-written, and all is well again
// when the database is.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	m, err := migrate.New(own.URL(), migrate.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	store := postgres.New(connect(t, own.URL()))
	// Long enough for a busy machine, and much shorter than what the caller would wait.
	const commitTimeout, patience = 5 * time.Second, time.Minute
	service := reputation.NewService(store, reputation.Config{CommitTimeout: commitTimeout})
	record := func(e reputation.Event) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := service.Record(ctx, e)
		return err
	}
	recorded := 0
	for _, outage := range []struct {
		name       string
		begin, end func() error
	}{
		{"stopped", func() error { own.Stop(); return nil }, own.Start},
		{"killed", func() error { own.Kill(); return nil }, own.Start},
	} {
		before, during := signal("agent", 0.5), signal("agent", 0.6)
		if err := record(before); err != nil {
			t.Fatalf("before it was %s: %v", outage.name, err)
		}
		if err := outage.begin(); err != nil {
			t.Fatal(err)
		}
		if err := record(during); !errors.Is(err, reputation.ErrStoreUnavailable) {
			t.Errorf("while it is %s: %v", outage.name, err)
		}
		if _, err := store.Get(t.Context(), "agent"); !errors.Is(err, reputation.ErrStoreUnavailable) {
			t.Errorf("reading while it is %s: %v", outage.name, err)
		}
		if err := outage.end(); err != nil {
			t.Fatal(err)
		}
		// The same event again: it counts once, whether or not it got in the first time.
		if err := record(during); err != nil {
			t.Errorf("after it was %s: %v", outage.name, err)
		}
		recorded += 2
		verify(t, store, recorded)
	}

	resume, err := own.Pause()
	if err != nil {
		t.Fatal(err)
	}
	hanging, began := signal("agent", 0.7), time.Now()
	err = record(hanging)
	resume()
	if !errors.Is(err, reputation.ErrStoreUnavailable) || time.Since(began) > patience/2 {
		t.Errorf("while it hangs: %v after %v", err, time.Since(began))
	}
	if err := record(hanging); err != nil {
		t.Errorf("after it hung: %v", err)
	}
	verify(t, store, recorded+1)
}

// TestKilledWhileRecording kills processes that record with SIGKILL, at random moments: what they
// acknowledged is there, once, and everything follows from the log.
func TestKilledWhileRecording(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	const kills = 5
	acknowledged := map[string]bool{}
	for range kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childURL+"="+url)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for id := range lines(out) {
			acknowledged[id] = true
			seen++
			if seen == 50+rand.IntN(100) || seen > 150 {
				_ = cmd.Process.Kill()
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Error("the process ended by itself")
		}
	}
	store := postgres.New(connect(t, url))
	stored := map[string]int{}
	for position := int64(0); ; {
		page, err := store.Events(t.Context(), position, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			stored[e.Event.ID]++
			position = e.Position
		}
	}
	for id := range acknowledged {
		if stored[id] != 1 {
			t.Errorf("the acknowledged event %s is there %d times", id, stored[id])
		}
	}
	verify(t, store, len(stored))
	t.Logf("%d processes killed; %d events acknowledged, %d stored", kills, len(acknowledged), len(stored))
}

// TestNoPool: without a pool there is no store, which whoever takes one can tell.
func TestNoPool(t *testing.T) {
	t.Parallel()
	if store := postgres.New(nil); store != nil {
		t.Error("a store without a pool")
	}
}

func TestSchemaIsMissing(t *testing.T) {
	t.Parallel()
	store := postgres.New(connect(t, server.Database(t)))
	_, err := store.Count(t.Context())
	if !errors.Is(err, reputation.ErrStoreUnavailable) || !strings.Contains(err.Error(), "run Up of a migrate.Migrator") {
		t.Errorf("without a schema: %v", err)
	}
}
