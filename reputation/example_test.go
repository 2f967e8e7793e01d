package reputation_test

import (
	"context"
	"fmt"
	"slices"

	"dixie/reputation"
	"dixie/reputation/memory"
)

// An event counts once: sending it again answers what the first one made of the agent.
func ExampleService_Record() {
	service := reputation.NewService(memory.New(0), reputation.Config{})
	event := reputation.Event{
		ID:      "d9b2d63d-a233-4123-847a-7090a8a1f0c1",
		AgentID: "oracle-001",
		Type:    reputation.QualitySignal,
		Score:   new(0.8),
	}

	for range 2 {
		r, err := service.Record(context.Background(), event)
		if err != nil {
			fmt.Println(err)

			return
		}

		fmt.Printf("duplicate %t: average %.2f, score %.4f after %d sample, %s\n", r.Duplicate, *r.EMA, *r.Score, r.SampleCount, r.State)
	}
	// Output:
	// duplicate false: average 0.80, score 0.5273 after 1 sample, warming
	// duplicate true: average 0.80, score 0.5273 after 1 sample, warming
}

// The newest sample weighs more the more samples there are; the average of few is pulled to the prior.
func ExampleEMA() {
	average := reputation.EMA(nil, 0.8, 0)
	fmt.Println(average)

	average = reputation.EMA(&average, 0.6, 1)
	fmt.Println(average)
	fmt.Println(reputation.Blend(reputation.NeutralPrior, &average, 2))
	// Output:
	// 0.8
	// 0.7784
	// 0.5464
}

// An aggregate is a function of the events that were recorded.
func ExampleRebuild() {
	ctx := context.Background()
	store := memory.New(0)
	service := reputation.NewService(store, reputation.Config{})

	for _, score := range []float64{0.8, 0.6, 1} {
		if _, err := service.Record(ctx, reputation.Event{AgentID: "oracle-001", Type: reputation.QualitySignal, Score: &score}); err != nil {
			fmt.Println(err)

			return
		}
	}

	stored, _ := store.Get(ctx, "oracle-001")
	log, _ := store.Events(ctx, 0, reputation.MaxPage)
	rebuilt := reputation.Rebuild(slices.Values(log))
	fmt.Println(*stored.PersonalScore == *rebuilt.Aggregates["oracle-001"].PersonalScore)
	// Output: true
}
