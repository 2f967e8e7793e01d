package chat_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dixie/finn"
	"dixie/internal/chat"
	"dixie/internal/chat/chattest"
)

// wire is a relay between services in one process. It delivers on the goroutine that publishes.
type wire struct {
	mu    sync.Mutex
	ends  []*wireEnd
	fault error // What every call fails with.
}

// wireEnd is the relay of one service. Its hooks run before the call.
type wireEnd struct {
	wire *wire

	onPublish  func(ctx context.Context)
	onWatch    func(ctx context.Context)
	onWatchers func(ctx context.Context)
	// published is called with the count of each message, before it is returned.
	published func(watchers int)

	// unanswered has Publish deliver and then fail.
	unanswered bool

	// GUARDED_BY(wire.mu): the rest.

	watches  map[string]map[*func([]byte)]bool
	notified map[*func(string)]bool
	sent     int
}

var _ chat.Relay = (*wireEnd)(nil)

func (w *wire) end() *wireEnd {
	e := &wireEnd{wire: w, watches: map[string]map[*func([]byte)]bool{}, notified: map[*func(string)]bool{}}
	w.ends = append(w.ends, e)
	return e
}

// others collects something of every other end, and fails when the wire does.
func others[V any](e *wireEnd, of func(*wireEnd) []V) ([]V, int, error) {
	e.wire.mu.Lock()
	defer e.wire.mu.Unlock()
	var all []V
	ends := 0
	for _, other := range e.wire.ends {
		if got := of(other); other != e && len(got) > 0 {
			all = append(all, got...)
			ends++
		}
	}
	return all, ends, e.wire.fault
}

func (e *wireEnd) Watch(ctx context.Context, sessionID string, deliver func([]byte)) (func(), error) {
	if e.onWatch != nil {
		e.onWatch(ctx)
	}
	e.wire.mu.Lock()
	if e.watches[sessionID] == nil {
		e.watches[sessionID] = map[*func([]byte)]bool{}
	}
	e.watches[sessionID][&deliver] = true
	e.wire.mu.Unlock()
	stop := func() {
		e.wire.mu.Lock()
		defer e.wire.mu.Unlock()
		delete(e.watches[sessionID], &deliver)
		if len(e.watches[sessionID]) == 0 {
			delete(e.watches, sessionID)
		}
	}
	return stop, errors.Join(e.announce(sessionID), ctx.Err())
}

func (e *wireEnd) announce(sessionID string) error {
	all, _, err := others(e, func(o *wireEnd) []*func(string) { return slices.Collect(maps.Keys(o.notified)) })
	if err != nil {
		return err
	}
	for _, notify := range all {
		(*notify)(sessionID)
	}
	return nil
}

func (e *wireEnd) Publish(ctx context.Context, sessionID string, message []byte) (int, error) {
	if e.onPublish != nil {
		e.onPublish(ctx)
	}
	all, ends, err := others(e, func(o *wireEnd) []*func([]byte) { return slices.Collect(maps.Keys(o.watches[sessionID])) })
	if err := errors.Join(err, ctx.Err()); err != nil {
		return 0, err
	}
	e.wire.mu.Lock()
	e.sent++
	e.wire.mu.Unlock()
	for _, deliver := range all {
		(*deliver)(message)
	}
	if e.unanswered {
		return 0, errors.New("no answer")
	}
	if e.published != nil {
		e.published(ends)
	}
	return ends, nil
}

func (e *wireEnd) Watchers(ctx context.Context, sessionID string) (int, error) {
	if e.onWatchers != nil {
		e.onWatchers(ctx)
	}
	_, ends, err := others(e, func(o *wireEnd) []*func([]byte) { return slices.Collect(maps.Keys(o.watches[sessionID])) })
	return ends, errors.Join(err, ctx.Err())
}

func (e *wireEnd) OnWatch(notify func(string)) func() {
	e.wire.mu.Lock()
	defer e.wire.mu.Unlock()
	e.notified[&notify] = true
	return func() {
		e.wire.mu.Lock()
		defer e.wire.mu.Unlock()
		delete(e.notified, &notify)
	}
}

// fail has every call fail with err, or work again and be announced when it is nil.
func (w *wire) fail(err error) {
	w.mu.Lock()
	w.fault = err
	ends := slices.Clone(w.ends)
	w.mu.Unlock()
	if err != nil {
		return
	}
	for _, e := range ends {
		w.mu.Lock()
		sessions := slices.Collect(maps.Keys(e.watches))
		w.mu.Unlock()
		for _, id := range sessions {
			_ = e.announce(id)
		}
	}
}

// replica is one of several services that share a backend, a store, locks and a wire.
type replica struct {
	*bundle

	relay *wireEnd
}

// replicas makes n of them. When the test ends, each must be rid of all that has to do with others.
func replicas(t *testing.T, n int, f *fakeFinn, change ...func(*chat.Config)) []*replica {
	t.Helper()
	w, sessions, locks := &wire{}, chat.NewMemorySessions(0), chat.NewMemoryLocks()
	all := make([]*replica, 0, n)
	for range n {
		r := &replica{relay: w.end()}
		t.Cleanup(func() {
			turns, pumps, watches := r.Crossing()
			if turns != 0 || pumps != 0 || watches != 0 || len(r.relay.watches) != 0 || len(r.relay.notified) != 0 {
				t.Errorf("%d turns, %d pumps and %d watches are left, at the relay %d and %d",
					turns, pumps, watches, len(r.relay.watches), len(r.relay.notified))
			}
		})
		r.bundle = setup(t, f, append(slices.Clone(change), func(c *chat.Config) {
			c.Sessions, c.Locks, c.Relay = sessions, locks, r.relay
		})...)
		all = append(all, r)
	}
	return all
}

// settled is what the subscription has once all that runs has come to rest.
func settled(t *testing.T, sub *chat.Subscription) []string {
	t.Helper()
	synctest.Wait()
	return waiting(t, sub)
}

// openAmong makes a session at r, without any held events.
func openAmong(t *testing.T, r *replica) string {
	t.Helper()
	id := open(t, r.bundle)
	synctest.Wait()
	return id
}

// pair is two replicas and a session that was made at the first.
func pair(t *testing.T, f *fakeFinn, change ...func(*chat.Config)) (a, b *replica, id string) {
	t.Helper()
	both := replicas(t, 2, f, change...)
	return both[0], both[1], openAmong(t, both[0])
}

// serve runs a turn whose events go to an own reader, and returns what that got.
func (r *replica) serve(t *testing.T, id, prompt string) (lines []string, ids []uint64) {
	t.Helper()
	_, err := r.Turn(t.Context(), chat.TurnRequest{
		Owner: alice, SessionID: id, Prompt: prompt, Pool: "pool_standard",
	}, func(e chat.Event) error {
		lines, ids = append(lines, line(e)), append(ids, e.ID)
		return nil
	})
	if err != nil {
		t.Errorf("Turn: %v", err)
	}
	return lines, ids
}

// gated is a backend that says a word for each signal, and ends when there are none left.
func gated(signals <-chan string) *fakeFinn {
	return &fakeFinn{stream: func(_ context.Context, _, _ string, each func(finn.Event) error) (finn.Turn, error) {
		var text strings.Builder
		for word := range signals {
			text.WriteString(word)
			if err := each(finn.Event{Kind: finn.TextDelta, Text: word}); err != nil {
				return finn.Turn{}, err
			}
		}
		return finn.Turn{Response: text.String()}, nil
	}}
}

func TestTheWireIsARelay(t *testing.T) {
	t.Parallel()
	chattest.RunRelay(t, func(*testing.T) func() chat.Relay {
		w := &wire{}
		return func() chat.Relay { return w.end() }
	})
}

// TestIDsGrowWhenASessionMoves: a client that was served by one process goes on at another.
func TestIDsGrowWhenASessionMoves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 3, &fakeFinn{})
		id := openAmong(t, all[0])
		var last uint64
		for i := range 9 {
			_, ids := all[i%3].serve(t, id, strings.Repeat("w ", 100))
			if ids[0] <= last || !slices.IsSorted(ids) {
				t.Errorf("turn %d has ids from %d on after %d", i, ids[0], last)
			}
			last = ids[len(ids)-1]
			time.Sleep(time.Millisecond) // fake clock; a turn with 100 events takes longer than 0.1 ms.
		}
	})
}

// TestWhatOnlySeemedToFailIsNotSeenTwice has the relay deliver an event and fail to say so.
func TestWhatOnlySeemedToFailIsNotSeenTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		words := make(chan string)
		a, b, id := pair(t, gated(words))
		there := b.attach(t, id)
		var turn sync.WaitGroup
		turn.Go(func() { a.say(t, id, "x") })
		words <- "one "
		want(t, "before", []string{modelLine, "chunk one "}, settled(t, there))
		a.relay.unanswered = true
		words <- "two "
		synctest.Wait()
		a.relay.unanswered = false
		a.relay.wire.fail(nil)
		words <- "three"
		close(words)
		turn.Wait()
		want(t, "after", []string{"chunk two ", "chunk three", "done one two three"}, settled(t, there))
	})
}
