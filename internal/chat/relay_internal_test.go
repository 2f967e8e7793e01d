package chat

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestARelayedEventMayOvertake hands in an event of a turn here after one that came from elsewhere, although
// its id is older.
func TestARelayedEventMayOvertake(t *testing.T) {
	t.Parallel()
	h := newHub()
	defer h.close()
	s, err := h.attach("wallet:w", "s")
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	older := Event{ID: h.next(), SessionID: "s", Payload: Chunk{Content: "here"}}
	var last uint64
	for i, come := range []func(){
		func() { h.pass("s", Chunk{Content: "there"}) },
		func() { h.publish(older, true) },
		func() { h.pass("s", Chunk{Content: "there"}) },
	} {
		come()
		e, err := s.Next(ended)
		if err != nil || e.ID <= last {
			t.Fatalf("event %d: %+v after %d, %v", i, e, last, err)
		}
		last = e.ID
	}
}

// TestPumpsAndClientsInAnyOrder: the hub keeps its counts, a pump gets no relayed event and every other one
// once, and nothing is left.
func TestPumpsAndClientsInAnyOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		defer h.close()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		dice := rand.New(rand.NewPCG(1, 2)) // The same sequence in each run.
		var clients []*Subscription
		var pump *Subscription
		for range 20_000 {
			switch dice.IntN(9) {
			case 0:
				if s, err := h.attach("wallet:w", "s"); err != nil {
					t.Fatal(err)
				} else if clients = append(clients, s); len(clients) > 3 {
					clients[0].Close()
					clients = clients[1:]
				}
			case 1:
				if len(clients) > 0 {
					clients[0].Close()
					clients = clients[1:]
				}
			case 2:
				if pump == nil {
					var err error
					if pump, err = h.attachPump("s"); err != nil {
						t.Fatal(err)
					}
				} else if dice.IntN(4) == 0 {
					pump.Close()
					pump = nil
				}
			case 3, 4:
				if pump != nil {
					if e, err := pump.Next(ended); err == nil && e.Payload == (Chunk{Content: "there"}) {
						t.Fatal("a pump carries a relayed event")
					}
				}
			case 5:
				for _, s := range clients {
					_, _ = s.Next(ended)
				}
			case 6:
				h.pass("s", Chunk{Content: "there"})
			default:
				h.publish(Event{ID: h.next(), SessionID: "s", Payload: Chunk{Content: "here"}}, dice.IntN(3) == 0)
			}
			wantCounted(t, h)
			if pump != nil && pump.ended != nil {
				t.Fatalf("the pump has ended: %v", pump.ended)
			}
		}
		for _, s := range clients {
			s.Close()
		}
		if pump != nil {
			pump.Close()
		}
		time.Sleep(keepHeld) // fake clock
		synctest.Wait()
		wantEmpty(t, h, "at the end")
	})
}

// TestClientsDisplaceClients: a pump that was there before them keeps its place, and takes nobody's.
func TestClientsDisplaceClients(t *testing.T) {
	t.Parallel()
	h := newHub()
	defer h.close()
	pump, err := h.attachPump("s")
	if err != nil {
		t.Fatal(err)
	}
	var clients []*Subscription
	for range maxSessionReaders + 1 {
		s, err := h.attach("wallet:w", "s")
		if err != nil {
			t.Fatal(err)
		}
		if len(clients) == maxSessionReaders-1 && clients[0].ended != nil {
			t.Error("the pump took a client's place")
		}
		clients = append(clients, s)
	}
	if pump.ended != nil || clients[0].ended == nil || clients[1].ended != nil {
		t.Errorf("pump %v, oldest %v, second %v", pump.ended, clients[0].ended, clients[1].ended)
	}
	pump.Close()
	if h.readers != maxSessionReaders || h.owners["wallet:w"] != maxSessionReaders {
		t.Errorf("%d readers are counted, of their owner %d", h.readers, h.owners["wallet:w"])
	}
}

// TestAnIdlePumpKeepsNothing: relayed events that the clients have read go, although a pump is there.
func TestAnIdlePumpKeepsNothing(t *testing.T) {
	t.Parallel()
	h := newHub()
	defer h.close()
	pump, err := h.attachPump("s")
	if err != nil {
		t.Fatal(err)
	}
	h.pass("s", Chunk{Content: "for nobody"})
	if len(pump.record.log) != 0 {
		t.Error("an event that came over the relay is held")
	}
	client, err := h.attach("wallet:w", "s")
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 * maxHeld {
		h.pass("s", Chunk{Content: "x"})
		_, _ = client.Next(ended)
		_, _ = pump.Next(ended) // As it does when it is woken.
	}
	_, _ = client.Next(ended)
	if n := len(pump.record.log); n > 1 {
		t.Errorf("%d events are kept that everybody has read", n)
	}
	if h.waits("s") {
		t.Error("relayed events wait for a reader")
	}
}
