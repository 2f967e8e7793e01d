package chat_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/finn"
	"dixie/internal/chat"
)

func want(t *testing.T, who string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", who, diff)
	}
}

var modelLine = turnLines("")[0] //nolint:gochecknoglobals // A constant that needs a call.

func TestAReaderElsewhereSeesATurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFinn{}
		a, b, id := pair(t, f)
		there := b.attach(t, id)
		for range 3 {
			a.say(t, id, "one two")
			want(t, "reader elsewhere", []string{modelLine, "chunk one ", "chunk two", "done one two"}, settled(t, there))
		}
		if _, _, streamed := f.calls(); len(streamed) != 3 {
			t.Errorf("%d of 3 turns were streamed for a reader elsewhere", len(streamed))
		}
		there.Close()
		a.say(t, id, "nobody watches")
		if _, _, streamed := f.calls(); len(streamed) != 3 {
			t.Error("a turn was streamed for a reader that had left")
		}
	})
}

// TestAReaderElsewhereComesLate attaches at another process when an answer is awaited whole, in the middle of
// a stream with a reader of its own, and after a turn.
func TestAReaderElsewhereComesLate(t *testing.T) {
	t.Parallel()
	t.Run("awaiting a whole answer", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := &fakeFinn{}
			a, b, id := pair(t, f)
			answer := make(chan struct{})
			f.send = func(context.Context, string, string) (finn.Turn, error) {
				<-answer
				return finn.Turn{Response: "whole"}, nil
			}
			var turn sync.WaitGroup
			turn.Go(func() { a.say(t, id, "x") })
			synctest.Wait()
			there := b.attach(t, id)
			close(answer)
			turn.Wait()
			want(t, "reader elsewhere", turnLines("whole"), settled(t, there))
		})
	})
	t.Run("into a stream", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			words := make(chan string)
			a, b, id := pair(t, gated(words))
			var turn sync.WaitGroup
			var own []string
			turn.Go(func() { own, _ = a.serve(t, id, "x") })
			words <- "one "
			synctest.Wait()
			there := b.attach(t, id)
			words <- "two"
			close(words)
			turn.Wait()
			want(t, "own reader", []string{modelLine, "chunk one ", "chunk two", "done one two"}, own)
			want(t, "reader elsewhere", []string{"chunk two", "done one two"}, settled(t, there))
		})
	})
	t.Run("after turns", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			all := replicas(t, 3, &fakeFinn{})
			a, b, c := all[0], all[1], all[2]
			id := openAmong(t, a)
			a.say(t, id, "one")
			a.say(t, id, "two")
			there := b.attach(t, id)
			want(t, "the next reader, elsewhere", slices.Concat(turnLines("echo: one"), turnLines("echo: two")), settled(t, there))
			there.Close()
			want(t, "one after it, elsewhere", nil, settled(t, c.attach(t, id)))
			want(t, "one after it, here", nil, settled(t, a.attach(t, id)))
		})
	})
}

// TestAPumpEndsWithItsTurn, also when it has published everything before the turn is over.
func TestAPumpEndsWithItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := make(chan struct{}, 1)
		book <- struct{}{}
		a, b, id := pair(t, &fakeFinn{}, func(c *chat.Config) {
			c.OnInteraction = func(context.Context, chat.Interaction) { <-book }
		})
		there := b.attach(t, id)
		var turn sync.WaitGroup
		turn.Go(func() { a.say(t, id, "x") })
		want(t, "elsewhere", turnLines("x"), settled(t, there))
		if turns, pumps, _ := a.Crossing(); turns != 1 || pumps != 1 {
			t.Errorf("%d turns and %d pumps during a turn", turns, pumps)
		}
		book <- struct{}{}
		turn.Wait()
		synctest.Wait()
		if turns, pumps, _ := a.Crossing(); turns+pumps != 0 {
			t.Errorf("%d turns and %d pumps are left after a turn", turns, pumps)
		}
	})
}

func TestEveryoneSeesAServedTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 3, &fakeFinn{})
		a, b, c := all[0], all[1], all[2]
		id := openAmong(t, a)
		subs := []*chat.Subscription{a.attach(t, id), b.attach(t, id), b.attach(t, id), c.attach(t, id)}
		own, _ := a.serve(t, id, "one two three")
		if len(own) != 5 {
			t.Errorf("own reader got %d events, want 5", len(own))
		}
		for _, sub := range subs {
			want(t, "subscription", own, settled(t, sub))
		}
		want(t, "who comes late", nil, settled(t, b.attach(t, id)))
	})
}

// TestNothingGoesRound has turns at both of two processes that both have readers.
func TestNothingGoesRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 2, &fakeFinn{})
		id := openAmong(t, all[0])
		subs := []*chat.Subscription{all[0].attach(t, id), all[1].attach(t, id)}
		for i := range 10 {
			all[i%2].say(t, id, "x")
			for _, sub := range subs {
				want(t, "subscription", turnLines("x"), settled(t, sub))
			}
		}
		// Both at once, each with a reader of its own; the turns wait for each other, the events may not.
		var turns sync.WaitGroup
		for _, r := range all {
			turns.Go(func() { r.serve(t, id, "y") })
		}
		turns.Wait()
		for _, sub := range subs {
			got := settled(t, sub)
			slices.Sort(got)
			both := slices.Concat(turnLines("y"), turnLines("y"))
			slices.Sort(both)
			want(t, "subscription", both, got)
		}
		for _, r := range all {
			if r.relay.sent != 18 {
				t.Errorf("%d messages for 6 turns of 3 events", r.relay.sent)
			}
		}
	})
}

func TestTheRestIsHeldWhenReadersElsewhereLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		words := make(chan string)
		all := replicas(t, 3, gated(words))
		a, b, c := all[0], all[1], all[2]
		id := openAmong(t, a)
		there := b.attach(t, id)
		var turn sync.WaitGroup
		turn.Go(func() { a.say(t, id, "x") })
		words <- "one "
		want(t, "first", []string{modelLine, "chunk one "}, settled(t, there))
		there.Close()
		words <- "two "
		synctest.Wait()
		if _, pumps, _ := a.Crossing(); pumps != 0 {
			t.Error("a pump runs for nobody")
		}
		words <- "three"
		close(words)
		turn.Wait()
		want(t, "second", []string{"chunk two ", "chunk three", "done one two three"}, settled(t, c.attach(t, id)))
	})
}

// TestWhoComesAsThePumpEndsMissesNothing attaches between the answer "nobody" and the end of the pump.
func TestWhoComesAsThePumpEndsMissesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		words := make(chan string)
		a, b, id := pair(t, gated(words))
		first := b.attach(t, id)
		var second *chat.Subscription
		a.relay.published = func(watchers int) {
			if watchers == 0 && second == nil {
				second = b.attach(t, id)
			}
		}
		var turn sync.WaitGroup
		turn.Go(func() { a.say(t, id, "x") })
		words <- "one "
		synctest.Wait()
		first.Close()
		words <- "two"
		close(words)
		turn.Wait()
		synctest.Wait()
		if second == nil {
			t.Fatal("the pump was never told that nobody watches")
		}
		want(t, "second", []string{"chunk two", "done one two"}, waiting(t, second))
	})
}

func TestAFailingRelayChangesNothingHere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		a, b, id := pair(t, &fakeFinn{}, func(c *chat.Config) { c.Logger = slog.New(slog.NewTextHandler(&logs, nil)) })
		there := b.attach(t, id)
		a.relay.wire.fail(errors.New("away"))
		for range 3 {
			here := a.attach(t, id)
			own, _ := a.serve(t, id, "one")
			want(t, "own reader", turnLines("one"), own)
			want(t, "subscription", turnLines("one"), settled(t, here))
			here.Close()
		}
		a.say(t, id, "held")
		want(t, "elsewhere", nil, settled(t, there))
		if n := strings.Count(logs.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings about one outage:\n%s", n, logs.String())
		}
		a.relay.wire.fail(nil)
		want(t, "elsewhere, when it is back", turnLines("echo: held"), settled(t, there))
		a.say(t, id, "two")
		want(t, "elsewhere, the next turn", turnLines("two"), settled(t, there))
		if n := strings.Count(logs.String(), "works again"); n != 1 {
			t.Errorf("%d notes that it is back:\n%s", n, logs.String())
		}
	})
}

func TestARelayThatFailsInTheMiddleLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		words := make(chan string)
		a, b, id := pair(t, gated(words))
		there := b.attach(t, id)
		var turn sync.WaitGroup
		turn.Go(func() { a.say(t, id, "x") })
		words <- "one "
		want(t, "before", []string{modelLine, "chunk one "}, settled(t, there))
		a.relay.wire.fail(errors.New("away"))
		words <- "two "
		synctest.Wait()
		a.relay.wire.fail(nil)
		want(t, "when it is back", []string{"chunk two "}, settled(t, there))
		close(words)
		turn.Wait()
		want(t, "the end", []string{"done one two "}, settled(t, there))
	})
}

func TestASlowRelayHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFinn{}
		a, b, id := pair(t, f)
		there, here := b.attach(t, id), a.attach(t, id)
		gate := make(chan struct{})
		a.relay.onPublish = func(context.Context) {
			<-gate
			time.Sleep(time.Millisecond) // fake clock; the reader elsewhere gets to read.
		}
		f.stream = func(_ context.Context, _, _ string, each func(finn.Event) error) (finn.Turn, error) {
			for range 1000 {
				if err := each(finn.Event{Kind: finn.TextDelta, Text: "w "}); err != nil {
					return finn.Turn{}, err
				}
				waiting(t, here)
			}
			return finn.Turn{Response: "all"}, nil
		}
		start := time.Now()
		a.say(t, id, "x")
		if took := time.Since(start); took != 0 {
			t.Errorf("the turn was held up for %v", took)
		}
		want(t, "reader here", []string{"done all"}, waiting(t, here))
		var got []string
		var reader sync.WaitGroup
		reader.Go(func() {
			for !slices.Contains(got, "done all") {
				e, err := there.Next(t.Context())
				if err != nil {
					t.Errorf("Next: %v", err)
					return
				}
				got = append(got, line(e))
			}
		})
		close(gate)
		reader.Wait()
		if len(got) > 201 {
			t.Errorf("%d events were kept for the relay", len(got))
		}
	})
}

func TestTheRelayIsAwaitedBriefly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, id := pair(t, &fakeFinn{})
		hang := func(ctx context.Context) { <-ctx.Done() }
		b.relay.onWatch, a.relay.onWatchers = hang, hang
		start := time.Now()
		b.attach(t, id)
		if took := time.Since(start); took != time.Second {
			t.Errorf("Attach took %v, want a second", took)
		}
		start = time.Now()
		a.say(t, id, "x")
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("the turn waited for %v, want 300 ms", took)
		}
		// A publication is given up as well, and its event kept.
		a.relay.onWatchers, a.relay.onPublish = nil, hang
		a.say(t, id, "y")
		time.Sleep(2 * time.Second) // fake clock
		synctest.Wait()
		if _, pumps, _ := a.Crossing(); pumps != 0 {
			t.Error("a pump hangs")
		}
		want(t, "the next reader", slices.Concat(turnLines("echo: x"), turnLines("y")), settled(t, a.attach(t, id)))
	})
}

func TestAPumpDisplacesNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, id := pair(t, &fakeFinn{})
		there := b.attach(t, id)
		var here []*chat.Subscription
		for range 64 {
			here = append(here, a.attach(t, id))
		}
		a.say(t, id, "x")
		want(t, "elsewhere", turnLines("x"), settled(t, there))
		for _, sub := range here {
			want(t, "here", turnLines("x"), waiting(t, sub))
		}
		// One more in the middle of a turn, when the pump is the newest reader.
		gate := make(chan struct{})
		a.finn.stream = func(context.Context, string, string, func(finn.Event) error) (finn.Turn, error) {
			<-gate
			return finn.Turn{Response: "y"}, nil
		}
		var turn sync.WaitGroup
		turn.Go(func() { a.say(t, id, "y") })
		synctest.Wait()
		a.attach(t, id)
		if _, err := here[0].Next(t.Context()); !errors.Is(err, chat.ErrDisplaced) {
			t.Errorf("the oldest of 65 readers: %v, want ErrDisplaced", err)
		}
		close(gate)
		turn.Wait()
		want(t, "elsewhere", []string{modelLine, "done y"}, settled(t, there))
		want(t, "second oldest", []string{modelLine, "done y"}, waiting(t, here[1]))
	})
}

func TestReadersShareAWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, id := pair(t, &fakeFinn{})
		first, second := b.attach(t, id), b.attach(t, id)
		first.Close()
		first.Close()
		a.say(t, id, "x")
		want(t, "who stays", turnLines("x"), settled(t, second))
		second.Close()
		if len(b.relay.watches) != 0 {
			t.Error("a session is watched for nobody")
		}
		// A watch that the relay grants when the service has been closed.
		b.relay.onWatch = func(context.Context) {
			time.Sleep(time.Second / 2) // fake clock
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				sub, err := b.Attach(t.Context(), alice, id)
				if err != nil {
					t.Errorf("Attach: %v", err)
					return
				}
				sub.Close()
			})
		}
		synctest.Wait()
		_ = b.Close()
		wg.Wait()
		if len(b.relay.watches) != 0 {
			t.Error("a session is watched for nobody")
		}
	})
}

func TestCloseEndsPumpsAndWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		words := make(chan string)
		a, b, id := pair(t, gated(words))
		there := b.attach(t, id)
		a.relay.onPublish = func(ctx context.Context) { <-ctx.Done() }
		var turn sync.WaitGroup
		turn.Go(func() { a.say(t, id, "x") })
		words <- "one"
		synctest.Wait()
		start := time.Now()
		for _, r := range []*replica{a, b} {
			if err := r.Close(); err != nil || time.Since(start) != 0 {
				t.Errorf("Close = %v after %v", err, time.Since(start))
			}
			if _, pumps, watches := r.Crossing(); pumps+watches+len(r.relay.watches)+len(r.relay.notified) != 0 {
				t.Errorf("%d pumps and %d watches are left", pumps, watches)
			}
		}
		if _, err := there.Next(t.Context()); !errors.Is(err, chat.ErrClosed) {
			t.Errorf("Next = %v, want ErrClosed", err)
		}
		close(words)
		turn.Wait()
	})
}
