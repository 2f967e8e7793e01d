package reputation_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/reputation"
	"dixie/reputation/memory"
)

func TestServiceScoreIsCached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0)}
		service := reputation.NewService(store, reputation.Config{})
		score := func(agent string) *float64 {
			t.Helper()

			s, err := service.Score(t.Context(), agent)
			if err != nil {
				t.Fatal(err)
			}

			return s
		}
		reads := func(want int) {
			t.Helper()

			if store.reads != want {
				t.Errorf("the store was read %d times, want %d", store.reads, want)
			}
		}

		for range 2 {
			if score("agent") != nil {
				t.Error("an unknown agent has a score")
			}
		}

		reads(1)

		recorded, err := service.Record(t.Context(), signal(0.8))
		if err != nil {
			t.Fatal(err)
		}

		// A recording drops what was cached, an absence too.
		if diff := cmp.Diff(recorded.Score, score("agent")); diff != "" {
			t.Errorf("score (-recorded +read):\n%s", diff)
		}

		reads(2)
		time.Sleep(reputation.ScoreTTL - time.Nanosecond) // fake clock
		score("agent")
		reads(2)
		time.Sleep(time.Nanosecond) // fake clock
		score("agent")
		reads(3)

		for _, id := range []string{"", "a b", "../x"} {
			if score(id) != nil {
				t.Errorf("%q has a score", id)
			}
		}

		reads(3)

		for i := range reputation.ScoreCacheSize {
			score(fmt.Sprintf("filler-%d", i))
		}

		score("agent")
		reads(4 + reputation.ScoreCacheSize)
	})
}

// A score that was read before a recording is not kept after it.
func TestServiceScoreReadAcrossARecording(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), holdReads: make(chan struct{})}
		service := reputation.NewService(store, reputation.Config{})
		old := make(chan *float64, 1)

		go func() {
			score, _ := service.Score(t.Context(), "agent")
			old <- score
		}()

		synctest.Wait() // It has read that there is none, and is held up.

		recorded, err := service.Record(t.Context(), signal(0.8))
		if err != nil {
			t.Fatal(err)
		}

		close(store.holdReads)

		if score := <-old; score != nil {
			t.Errorf("the reader of before has %v", *score)
		}

		if score, err := service.Score(t.Context(), "agent"); err != nil || score == nil || *score != *recorded.Score {
			t.Errorf("afterwards the score is %v, %v", score, err)
		}
	})
}

// Readers that miss together keep one answer, for the time that one may be kept.
func TestServiceScoreReadTwiceAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &observed{Store: memory.New(0), holdReads: make(chan struct{})}
		service := reputation.NewService(store, reputation.Config{})

		for range 2 {
			go func() { _, _ = service.Score(t.Context(), "agent") }()
		}

		synctest.Wait() // Both have read, and are held up.
		store.holdReads <- struct{}{}
		time.Sleep(reputation.ScoreTTL - time.Second) // fake clock
		store.holdReads <- struct{}{}
		time.Sleep(time.Second) // fake clock
		close(store.holdReads)

		if _, err := service.Score(t.Context(), "agent"); err != nil || store.reads != 3 {
			t.Errorf("the store was read %d times, %v; want the third time to be asked again", store.reads, err)
		}
	})
}
