package chattest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/chat"
)

// patience is how long a relay may take to do what it does not say when it has done.
const patience = 10 * time.Second

// RunRelay runs the suite for relays. open makes a network of its own for each case, and returns what adds
// a process to it.
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
	a, b := add(), add()
	in, _ := watch(t, b, "s-1")
	other, _ := watch(t, b, "s-2")
	var sent []string
	for i := range 1000 {
		sent = append(sent, fmt.Sprint(i, " \x00\xff\n{}"))
		publish(t, a, "s-1", sent[i], 1)
	}
	if diff := cmp.Diff(sent, in.take(t, len(sent))); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	publish(t, a, "s-2", "", 1)
	if diff := cmp.Diff([]string{""}, other.take(t, 1)); diff != "" {
		t.Errorf("messages of another session (-want +got):\n%s", diff)
	}
}

func nobodyHearsItself(t *testing.T, add func() chat.Relay) {
	a, b := add(), add()
	atA, _ := watch(t, a, "s")
	atB, _ := watch(t, b, "s")
	for range 100 {
		publish(t, a, "s", "from a", 1)
	}
	publish(t, b, "s", "from b", 1)
	if got := atA.take(t, 1); got[0] != "from b" {
		t.Errorf("a got %q, want what b has sent", got)
	}
	atB.take(t, 100)
	if len(atA)+len(atB) != 0 {
		t.Errorf("%d and %d messages too many", len(atA), len(atB))
	}
}

func watchersAreCounted(t *testing.T, add func() chat.Relay) {
	a, b, c := add(), add(), add()
	if n := watchers(t, a, "s"); n != 0 {
		t.Errorf("%d watchers at first", n)
	}
	publish(t, a, "s", "x", 0)
	_, stopB := watch(t, b, "s")
	watch(t, c, "s")
	_, stopA := watch(t, a, "s")
	for _, r := range []chat.Relay{a, b, c} {
		if n := watchers(t, r, "s"); n != 2 {
			t.Errorf("%d others watch, want 2", n)
		}
	}
	stopA()
	stopB()
	eventually(t, "who has stopped is still counted", func() bool { return watchers(t, a, "s") == 1 })
	eventually(t, "who has stopped is still counted", func() bool { return watchers(t, c, "s") == 0 })
	publish(t, a, "s", "x", 1)
	publish(t, c, "s", "x", 0)
}

func aStoppedWatchIsOver(t *testing.T, add func() chat.Relay) {
	a, b := add(), add()
	for range 20 {
		in, stop := watch(t, b, "s")
		publish(t, a, "s", "x", 1)
		in.take(t, 1)
		stop()
		stop()
	}
	old, stop := watch(t, b, "s")
	stop()
	in, _ := watch(t, b, "s")
	publish(t, a, "s", "y", 1)
	if got := in.take(t, 1); got[0] != "y" {
		t.Errorf("the new watch got %q", got)
	}
	if len(old) != 0 {
		t.Error("a watch that was stopped got a message")
	}
}

func watchesAreAnnounced(t *testing.T, add func() chat.Relay) {
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
	in, stopWatch := watch(t, b, "s-1")
	awaited("s-1")
	publish(t, a, "s-1", "x", 1)
	in.take(t, 1)
	stopWatch()
	watch(t, b, "s-1")
	awaited("s-1")
	watch(t, a, "own")
	watch(t, b, "s-2")
	limit := time.After(patience)
	for {
		select {
		case got := <-announced:
			if got == "own" {
				t.Error("a process was told of its own watch")
			}
			if got == "s-2" {
				return
			}
		case <-limit:
			t.Fatal("the watch of s-2 was not announced")
		}
	}
}

func severalWatches(t *testing.T, add func() chat.Relay) {
	a, b := add(), add()
	first, stop := watch(t, b, "s")
	second, _ := watch(t, b, "s")
	publish(t, a, "s", "x", 1)
	first.take(t, 1)
	second.take(t, 1)
	stop()
	publish(t, a, "s", "y", 1)
	if got := second.take(t, 1); got[0] != "y" || len(first) != 0 {
		t.Errorf("the watch that stays got %q, the other %d", got, len(first))
	}
}
