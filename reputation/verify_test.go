package reputation_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/reputation"
	"dixie/reputation/memory"
	"dixie/reputation/reputationtest"
)

// altered is a store some of whose aggregates were changed behind its back.
type altered struct {
	*memory.Store

	agents map[string]bool
	moved  bool
	// busy records another event before each of the first answers.
	busy int
}

func (s *altered) Get(ctx context.Context, agentID string) (reputation.Aggregate, error) {
	if s.busy > 0 {
		s.busy--

		entry, err := reputation.NewEntry(signal(0.5), noon)
		if err != nil {
			return reputation.Aggregate{}, err
		}

		if _, err := s.Apply(ctx, []reputation.Entry{entry}, reputation.FoldBatch); err != nil {
			return reputation.Aggregate{}, err
		}
	}

	a, err := s.Store.Get(ctx, agentID)
	if s.agents[agentID] && a.PersonalScore != nil {
		*a.PersonalScore = min(1, *a.PersonalScore+1e-16) + 1e-15
	}

	return a, err
}

func (s *altered) Population(ctx context.Context) (reputation.Moments, error) {
	m, err := s.Store.Population(ctx)
	if s.moved {
		m.M2 += 1e-15
	}

	return m, err
}

func TestVerify(t *testing.T) {
	t.Parallel()

	store := &altered{Store: memory.New(0)}

	var agent string

	for _, batch := range reputationtest.Random(rand.New(rand.NewPCG(3, 3)), 200, 20) {
		if _, err := store.Apply(t.Context(), batch, reputation.FoldBatch); err != nil {
			t.Fatal(err)
		}

		if batch[0].Event.Type == reputation.QualitySignal {
			agent = batch[0].Event.AgentID
		}
	}

	verify := func() reputation.Report {
		t.Helper()

		report, err := reputation.Verify(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}

		return report
	}
	if report := verify(); !report.OK() || report.Events < reputation.MaxPage || report.Agents == 0 {
		t.Errorf("a store that is right: %+v", report)
	}

	store.busy = 20
	if report := verify(); !report.OK() {
		t.Errorf("a store that records meanwhile: %+v", report)
	}

	store.agents = map[string]bool{agent: true}

	report := verify()
	if diff := cmp.Diff([]string{agent}, report.Differing); diff != "" || report.OK() || !report.Population {
		t.Errorf("an aggregate that was changed by a hair: %+v", report)
	}

	store.agents, store.moved = nil, true
	if report := verify(); report.OK() || report.Population || len(report.Differing) != 0 {
		t.Errorf("a population that was changed by a hair: %+v", report)
	}
}

func ExampleVerify() {
	store := memory.New(0)
	service := reputation.NewService(store, reputation.Config{})

	for range 3 {
		if _, err := service.Record(context.Background(), signal(0.8)); err != nil {
			fmt.Println(err)
		}
	}

	report, err := reputation.Verify(context.Background(), store)
	fmt.Println(report.Events, report.Agents, report.OK(), err)
	// Output: 3 1 true <nil>
}
