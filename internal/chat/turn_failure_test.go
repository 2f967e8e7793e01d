package chat_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/finn"
	"dixie/internal/chat"
)

func TestWaitingEndsWithTheTurnLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, &fakeFinn{})
		id := open(t, b)
		b.finn.send = func(ctx context.Context, _, _ string) (finn.Turn, error) {
			<-ctx.Done()
			return finn.Turn{}, &finn.Error{Kind: finn.ErrUnavailable}
		}
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, SessionID: id, Prompt: "first"}, nil)
			if !errors.Is(err, finn.ErrUnavailable) {
				t.Errorf("first turn: %v, want finn.ErrUnavailable", err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := b.Turn(ctx, chat.TurnRequest{Owner: alice, SessionID: id, Prompt: "second"}, nil)
		if !errors.Is(err, chat.ErrBusy) || time.Since(start) != 10*time.Second {
			t.Errorf("second turn: %v after %v, want ErrBusy after its own 10s", err, time.Since(start))
		}
		wg.Wait()
		if got := time.Since(start); got != chat.DefaultTurnLimit {
			t.Errorf("the first turn ended after %v, want %v", got, chat.DefaultTurnLimit)
		}
		if got := waiting(t, b.attach(t, id)); got != nil {
			t.Errorf("a turn that failed before its first event left %q", got)
		}
	})
}

func TestAFailureEndsWhatHasBegun(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err  error
		want string
	}{
		"turn":     {&finn.Error{Kind: finn.ErrTurnFailed}, "The turn failed, try again"},
		"budget":   {&finn.Error{Kind: finn.ErrBudgetExceeded}, "Usage limit reached"},
		"rate":     {&finn.Error{Kind: finn.ErrRateLimited}, "Backend rate limit reached, try again later"},
		"gone":     {&finn.Error{Kind: finn.ErrSessionNotFound}, "The conversation is not available any more"},
		"silence":  {&finn.Error{Kind: finn.ErrUnavailable}, "Backend temporarily unavailable"},
		"too long": {fmt.Errorf("limit: %w", context.DeadlineExceeded), "The answer took too long"},
		"cancel":   {fmt.Errorf("cut: %w", context.Canceled), "The turn was cancelled"},
		"other":    {errors.New("secret of the backend"), "The turn failed, try again"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := true
			b := setup(t, &fakeFinn{stream: func(_ context.Context, _, _ string, each func(finn.Event) error) (finn.Turn, error) {
				if begun {
					_ = each(finn.Event{Kind: finn.TextDelta, Text: "half"})
				}
				return finn.Turn{}, tt.err
			}})
			id := open(t, b)
			sub := b.attach(t, id)
			for range 2 {
				_, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, SessionID: id, Prompt: "x"}, nil)
				if !errors.Is(err, tt.err) {
					t.Errorf("Turn = %v, want it to wrap %v", err, tt.err)
				}
				var want []string
				if begun {
					want = []string{"model_selection /tier_assignment", "chunk half", "error " + tt.want}
				}
				if diff := cmp.Diff(want, waiting(t, sub)); diff != "" {
					t.Errorf("begun %v (-want +got):\n%s", begun, diff)
				}
				begun = false
			}
		})
	}
}

func TestALostClientAbortsItsStream(t *testing.T) {
	t.Parallel()
	b := setup(t, &fakeFinn{})
	id := open(t, b)
	gone := errors.New("connection reset")
	var got []string
	_, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, SessionID: id, Prompt: "one two three", Pool: "pool_standard"},
		func(e chat.Event) error {
			if line(e) == "chunk two " {
				return gone
			}
			got = append(got, line(e))
			return nil
		})
	if !errors.Is(err, gone) {
		t.Errorf("Turn = %v, want the error of emit", err)
	}
	if diff := cmp.Diff([]string{"model_selection pool_standard/tier_assignment", "chunk one "}, got); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	// The next reader gets what the client did not, and that it has ended.
	if diff := cmp.Diff([]string{"chunk two ", "error The turn was cancelled"}, waiting(t, b.attach(t, id))); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
}

func TestACancelledStreamEndsWithAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, &fakeFinn{stream: func(ctx context.Context, _, _ string, each func(finn.Event) error) (finn.Turn, error) {
			_ = each(finn.Event{Kind: finn.TextDelta, Text: "half"})
			<-ctx.Done()
			return finn.Turn{Response: "half"}, context.Cause(ctx)
		}})
		id := open(t, b)
		sub := b.attach(t, id)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		stopped, stop := context.WithCancel(ctx)
		time.AfterFunc(time.Millisecond, stop)
		_, err := b.Turn(stopped, chat.TurnRequest{Owner: alice, SessionID: id, Prompt: "x"}, nil)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Turn = %v, want Canceled", err)
		}
		want := []string{"model_selection /tier_assignment", "chunk half", "error The turn was cancelled"}
		if diff := cmp.Diff(want, waiting(t, sub)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// TestAnAbandonedPromptKeepsItsSession: Finn goes on with a whole turn whose client has left, and would
// refuse the next prompt meanwhile.
func TestAnAbandonedPromptKeepsItsSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, &fakeFinn{})
		id := open(t, b)
		b.finn.send = func(ctx context.Context, _, text string) (finn.Turn, error) {
			select {
			case <-time.After(20 * time.Second):
				return finn.Turn{Response: "echo: " + text}, nil
			case <-ctx.Done():
				t.Error("the prompt at Finn was cut")
				return finn.Turn{}, ctx.Err()
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := b.Turn(ctx, chat.TurnRequest{Owner: alice, SessionID: id, Prompt: "left"}, nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Turn = %v after %v, want DeadlineExceeded after 1s", err, time.Since(start))
		}
		b.say(t, id, "next")
		if got := time.Since(start); got != 40*time.Second {
			t.Errorf("the next answer came after %v, want 40s", got)
		}
		if diff := cmp.Diff(turnLines("echo: next"), waiting(t, b.attach(t, id))); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestCloseEndsPrompts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, &fakeFinn{})
		abandoned, waited := open(t, b), open(t, b)
		b.finn.send = func(ctx context.Context, _, _ string) (finn.Turn, error) {
			<-ctx.Done()
			return finn.Turn{}, ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = b.Turn(ctx, chat.TurnRequest{Owner: alice, SessionID: abandoned, Prompt: "x"}, nil) })
		synctest.Wait()
		cancel()
		wg.Wait()
		wg.Go(func() {
			_, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, SessionID: waited, Prompt: "x"}, nil)
			if !errors.Is(err, chat.ErrClosed) {
				t.Errorf("Turn during Close = %v, want ErrClosed", err)
			}
		})
		synctest.Wait()
		for range 2 {
			if err := b.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		wg.Wait()
		if _, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, Prompt: "x"}, nil); !errors.Is(err, chat.ErrClosed) {
			t.Errorf("Turn after Close = %v, want ErrClosed", err)
		}
	})
}
