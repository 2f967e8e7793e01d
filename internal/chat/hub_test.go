package chat_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
	"weak"

	"github.com/google/go-cmp/cmp"

	"dixie/finn"
	"dixie/internal/chat"
)

// TestEventBuffer tells, step by step, who gets which events.
func TestEventBuffer(t *testing.T) {
	t.Parallel()
	type scene struct {
		*bundle

		t  *testing.T
		id string
		// got collects what a reader was handed, by its name.
		got map[string][]string
	}
	say := func(prompt string) func(*scene) {
		return func(s *scene) { s.say(s.t, s.id, prompt) }
	}
	// read attaches a reader, lets it take everything and leave.
	read := func(name string) func(*scene) {
		return func(s *scene) {
			sub := s.attach(s.t, s.id)
			s.got[name] = waiting(s.t, sub)
			sub.Close()
		}
	}
	stream := func(name, prompt string) func(*scene) {
		return func(s *scene) {
			_, err := s.Turn(s.t.Context(), chat.TurnRequest{
				Owner: alice, SessionID: s.id, Prompt: prompt, Pool: "pool_standard",
			}, func(e chat.Event) error {
				s.got[name] = append(s.got[name], line(e))
				return nil
			})
			if err != nil {
				s.t.Fatalf("Turn: %v", err)
			}
		}
	}
	pass := func(d time.Duration) func(*scene) {
		return func(*scene) {
			time.Sleep(d) // fake clock
		}
	}
	echo := func(text string) []string { return turnLines("echo: " + text) }

	tests := map[string]struct {
		steps []func(*scene)
		want  map[string][]string
	}{
		"held for the next reader, once": {
			steps: []func(*scene){say("one"), read("first"), read("second")},
			want:  map[string][]string{"first": echo("one"), "second": nil},
		},
		"several turns, in order": {
			steps: []func(*scene){say("one"), say("two"), read("reader")},
			want:  map[string][]string{"reader": slices.Concat(echo("one"), echo("two"))},
		},
		"what server-sent events took is not sent again": {
			steps: []func(*scene){stream("sse", "one"), read("reader")},
			want:  map[string][]string{"sse": turnLines("one"), "reader": nil},
		},
		"a held turn survives one that was taken": {
			steps: []func(*scene){say("one"), stream("sse", "two"), read("reader")},
			want:  map[string][]string{"sse": turnLines("two"), "reader": echo("one")},
		},
		"kept just under five minutes": {
			steps: []func(*scene){say("one"), pass(5*time.Minute - time.Second), read("reader")},
			want:  map[string][]string{"reader": echo("one")},
		},
		"gone after five minutes": {
			steps: []func(*scene){say("one"), pass(5 * time.Minute), read("reader")},
			want:  map[string][]string{"reader": nil},
		},
		"each event has its own age": {
			steps: []func(*scene){say("one"), pass(3 * time.Minute), say("two"), pass(3 * time.Minute), read("reader")},
			want:  map[string][]string{"reader": echo("two")},
		},
		"old events do not come back with a new one": {
			steps: []func(*scene){say("one"), pass(6 * time.Minute), say("two"), read("reader")},
			want:  map[string][]string{"reader": echo("two")},
		},
		"all who are there get everything, who comes later nothing": {
			steps: []func(*scene){
				func(s *scene) {
					a, b := s.attach(s.t, s.id), s.attach(s.t, s.id)
					s.say(s.t, s.id, "one")
					s.got["a"] = waiting(s.t, a)
					s.got["late"] = waiting(s.t, s.attach(s.t, s.id))
					s.got["b"] = waiting(s.t, b)
				},
			},
			want: map[string][]string{"a": turnLines("one"), "b": turnLines("one"), "late": nil},
		},
		"a live reader also sees what server-sent events took": {
			steps: []func(*scene){
				func(s *scene) {
					sub := s.attach(s.t, s.id)
					stream("sse", "one")(s)
					s.got["reader"] = waiting(s.t, sub)
				},
				read("late"),
			},
			want: map[string][]string{"sse": turnLines("one"), "reader": turnLines("one"), "late": nil},
		},
		"what a reader did not confirm goes to the next": {
			steps: []func(*scene){
				say("one"),
				func(s *scene) {
					sub := s.attach(s.t, s.id)
					for range 2 { // Confirms the first, breaks off with the second.
						e, err := sub.Next(s.t.Context())
						if err != nil {
							s.t.Fatal(err)
						}
						s.got["first"] = append(s.got["first"], line(e))
					}
					sub.Close()
				},
				read("second"),
			},
			want: map[string][]string{"first": echo("one")[:2], "second": echo("one")[1:]},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &scene{bundle: setup(t, &fakeFinn{}), t: t, got: map[string][]string{}}
				// A session whose first events are out of the way.
				s.id = s.say(t, "", "hello").SessionID
				read("")(s)
				delete(s.got, "")
				for _, step := range tt.steps {
					step(s)
				}
				if diff := cmp.Diff(tt.want, s.got); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// open makes a session of alice's without any held events.
func open(t *testing.T, b *bundle) string {
	t.Helper()
	id := b.say(t, "", "hello").SessionID
	sub := b.attach(t, id)
	waiting(t, sub)
	sub.Close()
	return id
}

func TestEventBufferOverflowDropsChunksFirst(t *testing.T) {
	t.Parallel()
	f := &fakeFinn{}
	b := setup(t, f)
	id := open(t, b)
	// Server-sent events whose client is lost after the first event: the rest is held.
	words := strings.Repeat("w ", 500)
	f.stream = func(_ context.Context, _, _ string, each func(finn.Event) error) (finn.Turn, error) {
		_ = each(finn.Event{Kind: finn.ToolStart, Tool: "search"})
		_ = each(finn.Event{Kind: finn.ToolEnd, Tool: "search", Result: "found"})
		for range 500 {
			_ = each(finn.Event{Kind: finn.TextDelta, Text: "w "})
		}
		return finn.Turn{Response: words}, nil
	}
	_, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, SessionID: id, Prompt: "x", Pool: "pool_standard"},
		func(chat.Event) error { return errors.New("gone") })
	if err != nil {
		// The fake ignored the failures, so the turn was answered.
		t.Fatalf("Turn: %v", err)
	}
	got := waiting(t, b.attach(t, id))
	if len(got) != 200 {
		t.Errorf("%d events held, want 200", len(got))
	}
	head := []string{"model_selection pool_standard/tier_assignment", "tool_call search|{}|running|", "tool_call search|{}|done|found"}
	if diff := cmp.Diff(head, got[:3]); diff != "" {
		t.Errorf("what is not a chunk was dropped (-want +got):\n%s", diff)
	}
	if got[len(got)-1] != "done "+words {
		t.Errorf("last event %.20q, want done with the whole text", got[len(got)-1])
	}
}

func TestEventBufferByteBound(t *testing.T) {
	t.Parallel()
	f := &fakeFinn{}
	b := setup(t, f)
	id := open(t, b)
	for _, size := range []int{300 << 10, 300 << 10, 2 << 20} {
		f.send = func(context.Context, string, string) (finn.Turn, error) {
			return finn.Turn{Response: strings.Repeat("x", size)}, nil
		}
		b.say(t, id, "x")
	}
	// The last answer is larger than the bound by itself: nothing but it is held.
	got := waiting(t, b.attach(t, id))
	if len(got) != 1 || len(got[0]) != len("done ")+2<<20 {
		t.Errorf("%d events held, want the last done alone", len(got))
	}
}

func TestEventBufferTotals(t *testing.T) {
	t.Parallel()
	held := func(b *bundle, id string) int { return len(waiting(t, b.attach(t, id))) }

	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		text := strings.Repeat("x", 500<<10) // Nearly 1 MiB with chunk and done.
		f := &fakeFinn{send: func(context.Context, string, string) (finn.Turn, error) {
			return finn.Turn{Response: text}, nil
		}}
		b := setup(t, f)
		var all []string
		for range 70 {
			all = append(all, b.say(t, "", "x").SessionID)
		}
		if n := held(b, all[0]); n != 0 {
			t.Errorf("the oldest session still holds %d events", n)
		}
		if n := held(b, all[len(all)-1]); n != 3 {
			t.Errorf("the newest session holds %d events, want 3", n)
		}
		if n := held(b, all[len(all)-60]); n != 3 {
			t.Errorf("a session within the bound holds %d events, want 3", n)
		}
	})
	t.Run("sessions", func(t *testing.T) {
		t.Parallel()
		b := setup(t, &fakeFinn{}, func(c *chat.Config) { c.Sessions = countless{} })
		var all []string
		for range 10_001 {
			all = append(all, b.say(t, "", "x").SessionID)
		}
		if n := held(b, all[0]); n != 0 {
			t.Errorf("the oldest session still holds %d events", n)
		}
		if n := held(b, all[1]); n != 3 {
			t.Errorf("a session within the bound holds %d events, want 3", n)
		}
	})
}

// countless is a session store in which everything is alice's.
type countless struct{}

func (countless) Create(context.Context, chat.Session) error { return nil }
func (countless) Get(_ context.Context, id string) (chat.Session, error) {
	return chat.Session{ID: id, Owner: alice}, nil
}
func (countless) Touch(context.Context, string, time.Time) error { return nil }
func (countless) List(context.Context, string, int) ([]chat.Session, error) {
	return nil, nil
}

// TestHeldEventsAreReleased sees that memory goes back without anybody asking for anything.
func TestHeldEventsAreReleased(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var held weak.Pointer[byte]
		b := setup(t, &fakeFinn{send: func(context.Context, string, string) (finn.Turn, error) {
			text := strings.Repeat("x", 1<<20)
			held = weak.Make(unsafe.StringData(text))
			return finn.Turn{Response: text}, nil
		}})
		b.say(t, "", "x")
		time.Sleep(5*time.Minute - time.Second) // fake clock
		runtime.GC()
		if held.Value() == nil {
			t.Error("released too early")
		}
		time.Sleep(time.Second) // fake clock
		synctest.Wait()
		runtime.GC()
		if held.Value() != nil {
			t.Error("still held after five minutes")
		}
		runtime.KeepAlive(b)
	})
}

func TestSlowReaderIsDropped(t *testing.T) {
	t.Parallel()
	f := &fakeFinn{}
	b := setup(t, f)
	id := open(t, b)
	slow, fast := b.attach(t, id), b.attach(t, id)

	var got []string
	f.stream = func(_ context.Context, _, _ string, each func(finn.Event) error) (finn.Turn, error) {
		for i := range 1000 {
			if err := each(finn.Event{Kind: finn.TextDelta, Text: strconv.Itoa(i)}); err != nil {
				return finn.Turn{}, err
			}
			got = append(got, waiting(t, fast)...)
		}
		return finn.Turn{Response: "all"}, nil
	}
	b.say(t, id, "x")
	got = append(got, waiting(t, fast)...)
	if len(got) != 1002 {
		t.Errorf("the reader that kept up got %d events, want 1002", len(got))
	}
	if _, err := slow.Next(t.Context()); !errors.Is(err, chat.ErrSlowReader) {
		t.Errorf("slow reader: %v, want ErrSlowReader", err)
	}
	// Everything has been taken by someone: the reader that comes back starts afresh.
	if got := waiting(t, b.attach(t, id)); got != nil {
		t.Errorf("the next reader gets %d events, want none", len(got))
	}
}

func TestAFullBacklogDoesNotMakeAReaderSlow(t *testing.T) {
	t.Parallel()
	b := setup(t, &fakeFinn{})
	id := open(t, b)
	for range 100 { // Three events each, more than are held.
		b.say(t, id, "x")
	}
	sub := b.attach(t, id)
	b.say(t, id, "live")
	got := waiting(t, sub)
	if len(got) != 200 || got[len(got)-1] != "done live" {
		t.Errorf("%d events, last %q; want 200 and the live turn's done", len(got), got[len(got)-1])
	}
}

func TestParallelReadersGetTheSame(t *testing.T) {
	t.Parallel()
	const readers, turns = 60, 5
	b := setup(t, &fakeFinn{})
	id := open(t, b)
	var ready, wg sync.WaitGroup
	ready.Add(readers)
	results := make([][]string, readers)
	for i := range readers {
		wg.Go(func() {
			sub, err := b.Attach(t.Context(), alice, id)
			ready.Done()
			if err != nil {
				t.Errorf("Attach: %v", err)
				return
			}
			defer sub.Close()
			for range turns * 3 {
				e, err := sub.Next(t.Context())
				if err != nil {
					t.Errorf("Next: %v", err)
					return
				}
				results[i] = append(results[i], line(e))
			}
		})
	}
	ready.Wait()
	var want []string
	for i := range turns {
		text := fmt.Sprint("turn-", i)
		b.say(t, id, text)
		want = append(want, turnLines(text)...)
	}
	wg.Wait()
	for i, got := range results {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("reader %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestNextEndsWithItsContextAndWithClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, &fakeFinn{})
		id := open(t, b)
		left := errors.New("left")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		sub := b.attach(t, id)
		wg.Go(func() {
			if _, err := sub.Next(ctx); !errors.Is(err, left) {
				t.Errorf("Next = %v, want the context's cause", err)
			}
		})
		synctest.Wait()
		cancel(left)
		wg.Wait()

		for _, end := range []func(*chat.Subscription){(*chat.Subscription).Close, func(*chat.Subscription) { _ = b.Close() }} {
			reader := b.attach(t, id)
			wg.Go(func() {
				if _, err := reader.Next(t.Context()); !errors.Is(err, chat.ErrClosed) {
					t.Errorf("Next = %v, want ErrClosed", err)
				}
			})
			synctest.Wait()
			end(reader)
			reader.Close()
			wg.Wait()
		}
		if _, err := b.Attach(t.Context(), alice, id); !errors.Is(err, chat.ErrClosed) {
			t.Errorf("Attach after Close = %v, want ErrClosed", err)
		}
	})
}
