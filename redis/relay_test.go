package redis_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dixie/finn"
	"dixie/internal/chat"
	"dixie/internal/chat/chattest"
	"dixie/internal/redistest"
	"dixie/redis"
)

// relay makes a relay of its own, as another process would.
func relay(t *testing.T, s *redistest.Server, logger *slog.Logger) *redis.Relay {
	t.Helper()
	return relayAt(t, s.URL(), logger)
}

func relayAt(t *testing.T, url string, logger *slog.Logger) *redis.Relay {
	t.Helper()
	r := redis.NewRelay(redistest.Connect(t, url), logger)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

func restart(t *testing.T, s *redistest.Server) {
	t.Helper()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
}

// next takes what comes from in.
func next[V any](t *testing.T, in <-chan V) V {
	t.Helper()
	select {
	case v := <-in:
		return v
	case <-time.After(patience):
		t.Fatal("nothing comes")
	}
	panic("unreachable") //nolint:forbidigo // Fatal does not return.
}

func TestRelay(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	chattest.RunRelay(t, func(t *testing.T) func() chat.Relay {
		return func() chat.Relay { return relayAt(t, redistest.Patient(s.URL()), nil) }
	})
}

func TestTheRelayComesBack(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	var logs bytes.Buffer
	a, b := relay(t, s, nil), relay(t, s, slog.New(slog.NewTextHandler(&logs, nil)))
	announced := make(chan string, 1000)
	a.OnWatch(func(id string) { announced <- id })
	in := make(chan string, 1000)
	deliver := func(message []byte) { in <- string(message) }
	if _, err := b.Watch(t.Context(), "before", deliver); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Watch(t.Context(), "before", func([]byte) {}); err != nil {
		t.Fatal(err)
	}
	next(t, announced)

	for round := range 2 {
		s.Kill()
		limited, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		during := fmt.Sprint("during-", round)
		if _, err := b.Watch(limited, during, deliver); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Watch while the server is away = %v, want DeadlineExceeded", err)
		}
		cancel()
		if n, err := a.Publish(t.Context(), "before", []byte("lost")); err == nil {
			t.Errorf("Publish while the server is away = %d", n)
		}
		if n, err := a.Watchers(t.Context(), "before"); err == nil {
			t.Errorf("Watchers while the server is away = %d", n)
		}
		for len(announced) > 0 {
			<-announced
		}
		restart(t, s)
		missing := map[string]bool{"before": true, during: true}
		for len(missing) > 0 {
			delete(missing, next(t, announced))
		}
		// What is announced is there.
		for _, id := range []string{"before", during} {
			if n, err := a.Publish(t.Context(), id, []byte(id)); err != nil || n < 1 {
				t.Errorf("Publish when it is back = %d, %v", n, err)
			}
			if got := next(t, in); got != id {
				t.Errorf("%q arrived, want %q", got, id)
			}
		}
		eventually(t, "the count is not exact again", func() bool {
			n, err := a.Watchers(t.Context(), "before")
			return n == 1 && err == nil
		})
	}
	if err := b.Close(); err != nil { // From here on nobody writes to the log.
		t.Fatal(err)
	}
	if lost, back := strings.Count(logs.String(), "lost its connection"), strings.Count(logs.String(), "connected again"); lost != 2 || back != 2 {
		t.Errorf("%d losses and %d returns are logged for 2 outages:\n%s", lost, back, logs.String())
	}
}

// TestALostConnectionIsNoticed: the server is there and knows nothing of a watch any more.
func TestALostConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := relay(t, s, nil), relay(t, s, nil)
	in := make(chan string, 100)
	if _, err := b.Watch(t.Context(), "s", func(message []byte) { in <- string(message) }); err != nil {
		t.Fatal(err)
	}
	announced := make(chan string, 1000)
	a.OnWatch(func(id string) { announced <- id })
	if err := redistest.Connect(t, s.URL()).ClientKillByFilter(t.Context(), "type", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	// Also the one that would hear of it was cut off, and asks.
	for reached := 0; reached != 1; {
		next(t, announced) // It may be a word from before.
		var err error
		if reached, err = a.Publish(t.Context(), "s", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if got := next(t, in); got != "x" {
		t.Errorf("%q arrived", got)
	}
}

func TestAMissingServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	r := relay(t, s, nil)
	limited, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	in := make(chan string, 1)
	stop, err := r.Watch(limited, "s", func(message []byte) { in <- string(message) })
	if err == nil || stop == nil {
		t.Fatalf("Watch = %v, stop given: %v", err, stop != nil)
	}
	restart(t, s)
	other := relay(t, s, nil)
	eventually(t, "the watch does not begin", func() bool {
		n, err := other.Publish(t.Context(), "s", []byte("x"))
		return n == 1 && err == nil
	})
	next(t, in)
	stop()
	eventually(t, "the watch does not end", func() bool {
		n, err := other.Watchers(t.Context(), "s")
		return n == 0 && err == nil
	})
}

// TestAnOutageKeepsNoSessions: whoever comes and goes while the server is away leaves nothing behind.
func TestAnOutageKeepsNoSessions(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	r := relay(t, s, nil)
	for i := range 100 {
		limited, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		stop, err := r.Watch(limited, fmt.Sprint("s-", i), func([]byte) {})
		cancel()
		if err == nil {
			t.Error("Watch without a server succeeded")
		}
		stop()
	}
	if n := r.Channels(); n != 0 {
		t.Errorf("%d sessions are kept for nobody", n)
	}
}

// TestManyWatches: more than a command or an announcement can name.
func TestManyWatches(t *testing.T) {
	t.Parallel()
	const sessions = 2500
	s := redistest.Start(t)
	a, b := relay(t, s, nil), relay(t, s, nil)
	announced := make(chan string, 10*sessions)
	a.OnWatch(func(id string) { announced <- id })
	var watches sync.WaitGroup
	stops := make([]func(), sessions)
	for i := range sessions {
		watches.Go(func() {
			stop, err := b.Watch(t.Context(), fmt.Sprint("s-", i), func([]byte) {})
			if err != nil {
				t.Errorf("Watch: %v", err)
			}
			stops[i] = stop
		})
	}
	watches.Wait()
	all := func() {
		t.Helper()
		seen := map[string]bool{}
		for len(seen) < sessions {
			seen[next(t, announced)] = true
		}
	}
	all()
	s.Kill()
	for len(announced) > 0 {
		<-announced
	}
	restart(t, s)
	all()
	for _, stop := range stops {
		stop()
	}
	eventually(t, "some are still watched", func() bool {
		n, err := redistest.Connect(t, s.URL()).PubSubChannels(t.Context(), "chat:events:*").Result()
		return len(n) == 0 && err == nil
	})
}

func TestStrangersAreIgnored(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := relay(t, s, nil), relay(t, s, nil)
	in, announced := make(chan string, 100), make(chan string, 100)
	if _, err := b.Watch(t.Context(), "s", func(message []byte) { in <- string(message) }); err != nil {
		t.Fatal(err)
	}
	b.OnWatch(func(id string) { announced <- id })
	c, origin := redistest.Connect(t, s.URL()), rand.Text()
	for _, content := range []string{
		"", "short", origin + "{", origin + `{"watched":7}`, origin + "null", origin + `{"watched":[` + strings.Repeat(`"s",`, 501) + `"s"]}`,
	} {
		if err := c.Publish(t.Context(), "chat:watch", content).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Publish(t.Context(), "chat:events:s", "short").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Watch(t.Context(), "after", func([]byte) {}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, announced); got != "after" {
		t.Errorf("%q was announced by a stranger", got)
	}
	if _, err := a.Publish(t.Context(), "s", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := next(t, in); got != "x" {
		t.Errorf("%q was delivered", got)
	}
}

// TestCloseLeavesNothing runs alone.
func TestCloseLeavesNothing(t *testing.T) { //nolint:paralleltest // It counts goroutines.
	before := goleak.IgnoreCurrent()
	s := redistest.Start(t)
	c, err := redis.Open(redis.Config{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	r := redis.NewRelay(c, nil)
	if _, err := r.Watch(t.Context(), "s", func([]byte) {}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Watch(t.Context(), "t", func([]byte) {}); err == nil {
		t.Error("Watch after Close succeeded")
	}
	if n, err := c.PubSubNumSub(t.Context(), "chat:events:s").Result(); err != nil || n["chat:events:s"] != 0 {
		t.Errorf("after Close the server counts %v, %v", n, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	s.Kill()
	goleak.VerifyNone(t, before)
}

// TestAShortHangOfTheServer: no connection is lost over it, and still those who gave up publishing learn
// who waits.
func TestAShortHangOfTheServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := relay(t, s, nil), relay(t, s, nil)
	announced := make(chan string, 100)
	a.OnWatch(func(id string) { announced <- id })
	if _, err := b.Watch(t.Context(), "s", func([]byte) {}); err != nil {
		t.Fatal(err)
	}
	next(t, announced)
	for what, call := range map[string]func() (int, error){
		"Publish":  func() (int, error) { return a.Publish(t.Context(), "s", []byte("x")) },
		"Watchers": func() (int, error) { return a.Watchers(t.Context(), "s") },
	} {
		if n, err := call(); n != 1 || err != nil { // Which leaves a connection for the next one.
			t.Fatalf("%s = %d, %v", what, n, err)
		}
		for quiet := false; !quiet; { // There may be words from before.
			select {
			case <-announced:
			case <-time.After(1500 * time.Millisecond):
				quiet = true
			}
		}
		s.Pause()
		if n, err := call(); err == nil {
			t.Errorf("%s of a server that hangs = %d", what, n)
		}
		s.Resume()
		if got := next(t, announced); got != "s" {
			t.Errorf("%q was announced after %s, want s", got, what)
		}
	}
}

// words answers with the prompt, word by word.
type words struct{ chat.Backend }

func (words) CreateSession(context.Context, finn.SessionOptions) (finn.Session, error) {
	return finn.Session{ID: rand.Text(), Created: time.Now()}, nil
}

func (words) Send(_ context.Context, _, text string) (finn.Turn, error) {
	return finn.Turn{Response: text}, nil
}

func (words) Stream(_ context.Context, _, text string, each func(finn.Event) error) (finn.Turn, error) {
	for word := range strings.SplitAfterSeq(text, " ") {
		if err := each(finn.Event{Kind: finn.TextDelta, Text: word}); err != nil {
			return finn.Turn{}, fmt.Errorf("each: %w", err)
		}
	}
	return finn.Turn{Response: text}, nil
}

// unhurried is a relay that a turn waits for: of itself the service would go on after a third of a second, without those
// who read elsewhere.
type unhurried struct{ *redis.Relay }

// Watchers implements [chat.Relay].
func (u unhurried) Watchers(ctx context.Context, sessionID string) (int, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return u.Relay.Watchers(ctx, sessionID)
}

// Publish implements [chat.Relay].
func (u unhurried) Publish(ctx context.Context, sessionID string, message []byte) (int, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return u.Relay.Publish(ctx, sessionID, message)
}

// connectedRelay is one that watches without delay, and whose calls may take their time.
func connectedRelay(t *testing.T, s *redistest.Server) chat.Relay {
	t.Helper()
	r := relayAt(t, redistest.Patient(s.URL()), nil)
	stop, err := r.Watch(t.Context(), "any", func([]byte) {})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	return unhurried{r}
}

// TestTurnsAcrossReplicas is the whole way: two services, two relays, one server.
func TestTurnsAcrossReplicas(t *testing.T) {
	t.Parallel()
	const owner = "key:owner"
	s := redistest.Start(t)
	sessions := chat.NewMemorySessions(0)
	replica := func() *chat.Service {
		service, err := chat.New(chat.Config{Finn: words{}, Sessions: sessions, Relay: connectedRelay(t, s)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = service.Close() })
		return service
	}
	a, b := replica(), replica()
	say := func(at *chat.Service, id, prompt string) string {
		t.Helper()
		reply, err := at.Turn(t.Context(), chat.TurnRequest{Owner: owner, SessionID: id, Prompt: prompt}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return reply.SessionID
	}
	attach := func(at *chat.Service, id string) func(n int) []string {
		t.Helper()
		sub, err := at.Attach(t.Context(), owner, id)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sub.Close)
		return func(n int) []string {
			t.Helper()
			limited, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var got []string
			for range n {
				e, err := sub.Next(limited)
				if err != nil {
					t.Fatalf("Next: %v after %q", err, got)
				}
				switch p := e.Payload.(type) {
				case chat.Chunk:
					got = append(got, p.Content)
				default:
					got = append(got, p.Type())
				}
			}
			return got
		}
	}
	want := func(what string, want, got []string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}

	until := func(read func(int) []string, last string) {
		t.Helper()
		for found := false; !found; {
			found = read(1)[0] == last
		}
	}

	id := say(a, "", "held for later")
	there := attach(b, id)
	want("the backlog", []string{"model_selection", "held for later", "done"}, there(3))
	say(a, id, "live words")
	want("a turn there", []string{"model_selection", "live ", "words", "done"}, there(4))
	here := attach(a, id)
	say(a, id, "mark")
	// First the last event, unless the relay had said that it was taken.
	until(here, "mark")
	want("here, after the mark", []string{"done"}, here(1))
	want("there, with the mark", []string{"model_selection", "mark", "done"}, there(3))
	for _, at := range []*chat.Service{b, a, b} {
		say(at, id, "to all")
		for who, read := range map[string]func(int) []string{"here": here, "there": there} {
			want(who, []string{"model_selection", "to ", "all", "done"}, read(4))
		}
	}

	s.Kill()
	say(a, id, "while it is away")
	want("here, while it is away", []string{"model_selection", "while ", "it ", "is ", "away", "done"}, here(6))
	other := say(a, "", "held meanwhile")
	elsewhere := attach(b, other)
	restart(t, s)
	want("the backlog when it is back", []string{"model_selection", "held meanwhile", "done"}, elsewhere(3))
	eventually(t, "not both watch again", func() bool {
		n, err := redistest.Connect(t, s.URL()).PubSubNumSub(t.Context(), "chat:events:"+id).Result()
		return err == nil && n["chat:events:"+id] == 2
	})
	say(a, id, "again")
	until(there, "again") // After what nobody has confirmed here.
	want("a turn there, when it is back", []string{"done"}, there(1))
}
