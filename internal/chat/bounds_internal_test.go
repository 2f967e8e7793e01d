package chat

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// wantEmpty sees that nothing is left of sessions that are over.
func wantEmpty(t *testing.T, h *hub, when string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sessions) != 0 || len(h.owners) != 0 || h.held.Len() != 0 || h.bytes != 0 || h.readers != 0 || h.sweeper != nil {
		t.Errorf("%s: %d sessions, %d owners, %d with events, %d bytes, %d readers, sweeper %v",
			when, len(h.sessions), len(h.owners), h.held.Len(), h.bytes, h.readers, h.sweeper != nil)
	}
}

// TestTheHubForgets runs sessions through every way in which one can end.
func TestTheHubForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		publish := func(sessionID string, taken bool) {
			h.publish(Event{ID: h.next(), SessionID: sessionID, Payload: Chunk{Content: "x"}}, taken)
		}
		attach := func(sessionID string) *Subscription {
			s, err := h.attach("wallet:w", sessionID)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		drain := func(s *Subscription) {
			for {
				if _, err := s.Next(ended); err != nil {
					return
				}
			}
		}
		for i := range 100 {
			id := fmt.Sprint("s-", i)
			publish(id, false) // Held, and read later.
			publish(id, true)  // Taken by someone else, and not held.
			first, second := attach(id), attach(id)
			publish(id, true) // Taken, but the readers want it too.
			drain(first)
			first.Close()
			drain(second)
			second.Close()
			attach(id).Close() // Reads nothing.
			publish(fmt.Sprint("never-read-", i), false)
		}
		var crowd []*Subscription
		for range maxSessionReaders + 1 { // One is displaced.
			crowd = append(crowd, attach("crowded"))
		}
		for _, s := range crowd {
			s.Close()
		}
		time.Sleep(keepHeld) // fake clock
		synctest.Wait()
		wantEmpty(t, h, "after five minutes")

		slow := attach("slow")
		for range maxHeld + 1 {
			publish("slow", false)
		}
		if slow.ended == nil {
			t.Error("a reader that takes nothing is still there")
		}
		attach("open")
		h.close()
		wantEmpty(t, h, "after close")
		publish("late", false)
		wantEmpty(t, h, "after an event that came late")
	})
}

// wantCounted compares what the hub counts with what is there.
func wantCounted(t *testing.T, h *hub) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := 0
	for id, r := range h.sessions {
		bytes, taken := 0, 0
		for _, e := range r.log {
			bytes += e.size
			if e.takenAt != 0 {
				taken++
			}
		}
		if bytes != r.bytes || taken != r.taken || (r.place == nil) != (len(r.log) == 0) {
			t.Errorf("session %s: %d bytes and %d taken events are counted, %d and %d are there", id, r.bytes, r.taken, bytes, taken)
		}
		sum += bytes
	}
	if sum != h.bytes {
		t.Errorf("%d bytes are counted, %d are there", h.bytes, sum)
	}
}

// TestTheHubCountsWhatIsTaken has readers that come, read, lag and leave in any order.
func TestTheHubCountsWhatIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		defer h.close()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		dice := rand.New(rand.NewPCG(1, 2)) // The same sequence in each run.
		var readers []*Subscription
		for range 20_000 {
			id := fmt.Sprint("s-", dice.IntN(3))
			switch at := dice.IntN(max(1, len(readers))); dice.IntN(10) {
			case 0:
				s, err := h.attach("wallet:w", id)
				if err != nil {
					t.Fatal(err)
				}
				readers = append(readers, s)
			case 1:
				if len(readers) > 0 {
					readers[at].Close()
					readers = slices.Delete(readers, at, at+1)
				}
			case 2, 3, 4:
				if len(readers) > 0 {
					_, _ = readers[at].Next(ended)
				}
			case 5:
				time.Sleep(time.Duration(dice.IntN(20)) * time.Second) // fake clock
			default:
				h.publish(Event{ID: h.next(), SessionID: id, Payload: Chunk{Content: "x"}}, dice.IntN(3) == 0)
			}
			wantCounted(t, h)
		}
		for _, s := range readers {
			s.Close()
			wantCounted(t, h)
		}
		time.Sleep(keepHeld) // fake clock
		synctest.Wait()
		wantEmpty(t, h, "after five minutes")
	})
}

// TestTheHubHoldsWhatItCounts compares the sums with what is there, past every bound.
func TestTheHubHoldsWhatItCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		defer h.close()
		text := strings.Repeat("x", maxHeldBytes/4)
		for i := range 5000 {
			content := "x"
			if i%7 == 0 {
				content = text[:i%len(text)]
			}
			id := fmt.Sprint("s-", i%90)
			h.publish(Event{ID: h.next(), SessionID: id, Payload: Done{Content: content + text[:(i%90)*1000]}}, false)
			if r := h.sessions[id]; len(r.log) > maxHeld || r.bytes > maxHeldBytes {
				t.Fatalf("session %s holds %d events, %d bytes", id, len(r.log), r.bytes)
			}
			if h.bytes > maxTotalBytes {
				t.Fatalf("%d bytes are held", h.bytes)
			}
		}
		wantCounted(t, h)
	})
}

func TestMemoryLocksForget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryLocks()
		for i := range 100 {
			id := fmt.Sprint("s-", i)
			release, err := m.Acquire(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			leaving, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := m.Acquire(leaving, id); err == nil {
				t.Error("two holders at once")
			}
			cancel()
			release()
		}
		if len(m.lines) != 0 {
			t.Errorf("%d lines are left", len(m.lines))
		}
	})
}

// TestASessionDoesNotKeepItsPrompt: a substring would keep the whole text in memory.
func TestASessionDoesNotKeepItsPrompt(t *testing.T) {
	t.Parallel()
	for _, prompt := range []string{"short", strings.Repeat("x", 10*MaxFirstMessage)} {
		if kept := firstMessage(prompt); unsafe.StringData(kept) == unsafe.StringData(prompt) {
			t.Errorf("%d of %d characters share the prompt's memory", len(kept), len(prompt))
		}
	}
}
