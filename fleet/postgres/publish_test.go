package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
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

// TestUnpublishedIsSaidOnce: that events are not taken is one line, however many they are and however often
// they come again, and the end of it another.
func TestUnpublishedIsSaidOnce(t *testing.T) {
	t.Parallel()
	const refused = 6
	var mu sync.Mutex
	calls := 0
	told := make(chan fleet.EventType, 10)
	cfg := quick()
	log := &journal{}
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	cfg.Publish = func(_ context.Context, e fleet.Event) error {
		mu.Lock()
		defer mu.Unlock()
		calls++
		if calls <= refused {
			return errors.New("not now")
		}
		told <- e.Type
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
	for range 2 {
		receive(t, told)
	}
	eventually(t, "the end is told", func() bool { return log.count("fleet_events_published_again") == 1 })
	if n := log.count("fleet_event_not_published"); n != 1 {
		t.Errorf("%d lines for %d refusals", n, refused)
	}
}

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer // GUARDED_BY(mu)
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(part string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), part)
}
