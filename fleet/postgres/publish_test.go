package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"dixie/fleet"
	"dixie/fleet/postgres"
)

// TestMessageID has each event published twice, and wants the same id for both and another for the next.
func TestMessageID(t *testing.T) {
	t.Parallel()
	type message struct {
		id   string
		kind fleet.EventType
	}
	told := make(chan message, 10)
	var mu sync.Mutex
	seen := make(map[string]bool)
	cfg := quick()
	cfg.Publish = func(ctx context.Context, e fleet.Event) error {
		m := message{postgres.MessageID(ctx), e.Type}
		told <- m
		mu.Lock()
		defer mu.Unlock()
		if !seen[m.id] {
			seen[m.id] = true
			return errors.New("not now")
		}
		return nil
	}
	service, store := serve(t, server.Migrated(t), cfg, absent)
	id := admit(t, service)
	if _, err := service.Stop(t.Context(), everyone(), id); err != nil {
		t.Fatal(err)
	}
	if err := store.Start(t.Context(), 1, func(context.Context, fleet.Attempt) error { return nil }); err != nil {
		t.Fatal(err)
	}
	ids := make(map[message]int)
	for range 4 {
		ids[receive(t, told)]++
	}
	if ids[message{id + "/1", fleet.AgentSpawned}] != 2 || ids[message{id + "/2", fleet.AgentCancelled}] != 2 {
		t.Errorf("published %v", ids)
	}
	if got := postgres.MessageID(t.Context()); got != "" {
		t.Errorf("MessageID elsewhere = %q", got)
	}
}
