package chattest

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/chat"
)

// patience is how long a relay may take to do what it does not say when it has done.
const patience = 10 * time.Second

// RunRelay runs the suite for relays. open is called for each case, and returns what adds a process to a
// network. Cases may share one: each has sessions of its own.
func RunRelay(t *testing.T, open func(t *testing.T) (add func() chat.Relay)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func() chat.Relay){
		"MessagesArriveInOrder": messagesArriveInOrder,
		"NobodyHearsItself":     nobodyHearsItself,
		"WatchersAreCounted":    watchersAreCounted,
		"AStoppedWatchIsOver":   aStoppedWatchIsOver,
		"WatchesAreAnnounced":   watchesAreAnnounced,
		"SeveralWatches":        severalWatches,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// inbox keeps what is delivered.
type inbox chan string

func watch(t *testing.T, r chat.Relay, sessionID string) (inbox, func()) {
	t.Helper()
	in := make(inbox, 5000)
	stop, err := r.Watch(t.Context(), sessionID, func(message []byte) { in <- string(message) })
	if err != nil {
		t.Fatalf("Watch: %v", err)
	}
	t.Cleanup(stop)
	return in, stop
}

func publish(t *testing.T, r chat.Relay, sessionID, message string, want int) {
	t.Helper()
	if n, err := r.Publish(t.Context(), sessionID, []byte(message)); err != nil || n != want {
		t.Errorf("Publish = %d, %v; want %d watchers", n, err, want)
	}
}

// take takes the next n messages.
func (in inbox) take(t *testing.T, n int) []string {
	t.Helper()
	limit := time.After(patience)
	var all []string
	for range n {
		select {
		case message := <-in:
			all = append(all, message)
		case <-limit:
			t.Fatalf("%d of %d messages have come", len(all), n)
		}
	}
	return all
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal(what)
		}
	}
}

func watchers(t *testing.T, r chat.Relay, sessionID string) int {
	t.Helper()
	n, err := r.Watchers(t.Context(), sessionID)
	if err != nil {
		t.Fatalf("Watchers: %v", err)
	}
	return n
}

func messagesArriveInOrder(t *testing.T, add func() chat.Relay) {
	first, second := rand.Text(), rand.Text()
	a, b := add(), add()
	in, _ := watch(t, b, first)
	other, _ := watch(t, b, second)
	var sent []string
	for i := range 1000 {
		sent = append(sent, fmt.Sprint(i, " \x00\xff\n{}"))
		publish(t, a, first, sent[i], 1)
	}
	if diff := cmp.Diff(sent, in.take(t, len(sent))); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	publish(t, a, second, "", 1)
	if diff := cmp.Diff([]string{""}, other.take(t, 1)); diff != "" {
		t.Errorf("messages of another session (-want +got):\n%s", diff)
	}
}

func nobodyHearsItself(t *testing.T, add func() chat.Relay) {
	id := rand.Text()
	a, b := add(), add()
	atA, _ := watch(t, a, id)
	atB, _ := watch(t, b, id)
	for range 100 {
		publish(t, a, id, "from a", 1)
	}
	publish(t, b, id, "from b", 1)
	if got := atA.take(t, 1); got[0] != "from b" {
		t.Errorf("a got %q, want what b has sent", got)
	}
	atB.take(t, 100)
	if len(atA)+len(atB) != 0 {
		t.Errorf("%d and %d messages too many", len(atA), len(atB))
	}
}

func watchersAreCounted(t *testing.T, add func() chat.Relay) {
	id := rand.Text()
	a, b, c := add(), add(), add()
	if n := watchers(t, a, id); n != 0 {
		t.Errorf("%d watchers at first", n)
	}
	publish(t, a, id, "x", 0)
	_, stopB := watch(t, b, id)
	watch(t, c, id)
	_, stopA := watch(t, a, id)
	for _, r := range []chat.Relay{a, b, c} {
		if n := watchers(t, r, id); n != 2 {
			t.Errorf("%d others watch, want 2", n)
		}
	}
	stopA()
	stopB()
	eventually(t, "who has stopped is still counted", func() bool { return watchers(t, a, id) == 1 })
	eventually(t, "who has stopped is still counted", func() bool { return watchers(t, c, id) == 0 })
	publish(t, a, id, "x", 1)
	publish(t, c, id, "x", 0)
}

func aStoppedWatchIsOver(t *testing.T, add func() chat.Relay) {
	id := rand.Text()
	a, b := add(), add()
	for range 20 {
		in, stop := watch(t, b, id)
		publish(t, a, id, "x", 1)
		in.take(t, 1)
		stop()
		stop()
	}
	old, stop := watch(t, b, id)
	stop()
	in, _ := watch(t, b, id)
	publish(t, a, id, "y", 1)
	if got := in.take(t, 1); got[0] != "y" {
		t.Errorf("the new watch got %q", got)
	}
	if len(old) != 0 {
		t.Error("a watch that was stopped got a message")
	}
}

func watchesAreAnnounced(t *testing.T, add func() chat.Relay) {
	first, second, own := rand.Text(), rand.Text(), rand.Text()
	a, b := add(), add()
	announced := make(chan string, 100)
	stop := a.OnWatch(func(sessionID string) { announced <- sessionID })
	t.Cleanup(stop)
	awaited := func(sessionID string) {
		t.Helper()
		limit := time.After(patience)
		for { // More than what has happened may be announced.
			select {
			case got := <-announced:
				if got == sessionID {
					return
				}
			case <-limit:
				t.Fatalf("the watch of %s was not announced", sessionID)
			}
		}
	}
	in, stopWatch := watch(t, b, first)
	awaited(first)
	publish(t, a, first, "x", 1)
	in.take(t, 1)
	stopWatch()
	watch(t, b, first)
	awaited(first)
	watch(t, a, own)
	watch(t, b, second)
	limit := time.After(patience)
	for {
		select {
		case got := <-announced:
			if got == own {
				t.Error("a process was told of its own watch")
			}
			if got == second {
				return
			}
		case <-limit:
			t.Fatal("the last watch was not announced")
		}
	}
}

func severalWatches(t *testing.T, add func() chat.Relay) {
	id := rand.Text()
	a, b := add(), add()
	first, stop := watch(t, b, id)
	second, _ := watch(t, b, id)
	publish(t, a, id, "x", 1)
	first.take(t, 1)
	second.take(t, 1)
	stop()
	publish(t, a, id, "y", 1)
	if got := second.take(t, 1); got[0] != "y" || len(first) != 0 {
		t.Errorf("the watch that stays got %q, the other %d", got, len(first))
	}
}
