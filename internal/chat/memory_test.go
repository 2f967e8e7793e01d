package chat_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/chat"
)

func ids(list []chat.Session) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, s.ID)
	}
	return out
}

func TestMemorySessions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := chat.NewMemorySessions(0)
	if !m.Ephemeral() {
		t.Error("Ephemeral() = false, want true")
	}
	start := time.Date(2026, 2, 26, 12, 0, 0, 0, time.UTC)
	for i, owner := range []string{alice, alice, bob} {
		at := start.Add(time.Duration(i) * time.Second)
		if err := m.Create(ctx, chat.Session{ID: fmt.Sprintf("s-%d", i), Owner: owner, CreatedAt: at, LastActivity: at}); err != nil {
			t.Fatal(err)
		}
	}

	if err := m.Create(ctx, chat.Session{ID: "s-2", Owner: alice}); err == nil {
		t.Error("Create of an existing id succeeded")
	}
	if s, err := m.Get(ctx, "s-2"); err != nil || s.Owner != bob {
		t.Errorf("Get after a second Create = %+v, %v; want bob's", s, err)
	}
	if _, err := m.Get(ctx, "nope"); !errors.Is(err, chat.ErrSessionNotFound) {
		t.Errorf("Get(nope) = %v, want ErrSessionNotFound", err)
	}
	if err := m.Touch(ctx, "nope", start); !errors.Is(err, chat.ErrSessionNotFound) {
		t.Errorf("Touch(nope) = %v, want ErrSessionNotFound", err)
	}

	later := start.Add(time.Hour)
	for _, at := range []time.Time{later, start} { // The second must not move it back.
		if err := m.Touch(ctx, "s-0", at); err != nil {
			t.Fatal(err)
		}
	}
	list, err := m.List(ctx, alice, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []chat.Session{
		{ID: "s-0", Owner: alice, CreatedAt: start, LastActivity: later, Turns: 2},
		{ID: "s-1", Owner: alice, CreatedAt: start.Add(time.Second), LastActivity: start.Add(time.Second)},
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if list, _ := m.List(ctx, alice, 1); len(list) != 1 || list[0].ID != "s-0" {
		t.Errorf("List with limit 1 = %v", ids(list))
	}
	if list, err := m.List(ctx, "wallet:nobody", 0); err != nil || len(list) != 0 {
		t.Errorf("List(nobody) = %v, %v", list, err)
	}
}

func TestMemorySessionsEviction(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	now := time.Now()
	create := func(m *chat.MemorySessions, owner, id string) {
		t.Helper()
		if err := m.Create(ctx, chat.Session{ID: id, Owner: owner, CreatedAt: now, LastActivity: now}); err != nil {
			t.Fatal(err)
		}
	}
	gone := func(m *chat.MemorySessions, id string) bool {
		_, err := m.Get(ctx, id)
		return errors.Is(err, chat.ErrSessionNotFound)
	}

	t.Run("all", func(t *testing.T) {
		t.Parallel()
		m := chat.NewMemorySessions(3)
		for i := range 3 {
			create(m, fmt.Sprintf("wallet:%d", i), fmt.Sprintf("s-%d", i))
		}
		if err := m.Touch(ctx, "s-0", now); err != nil {
			t.Fatal(err)
		}
		create(m, "wallet:3", "s-3")
		if gone(m, "s-0") || !gone(m, "s-1") || gone(m, "s-2") || gone(m, "s-3") {
			t.Error("not the least recently active session went")
		}
		if list, _ := m.List(ctx, "wallet:1", 0); len(list) != 0 {
			t.Errorf("an evicted session is still listed: %v", ids(list))
		}
	})
	t.Run("default", func(t *testing.T) {
		t.Parallel()
		m := chat.NewMemorySessions(-1)
		for i := range chat.DefaultMaxSessions + 1 {
			create(m, fmt.Sprintf("wallet:%d", i), fmt.Sprintf("s-%d", i))
		}
		if !gone(m, "s-0") || gone(m, "s-1") || gone(m, fmt.Sprintf("s-%d", chat.DefaultMaxSessions)) {
			t.Errorf("not the oldest of %d sessions went", chat.DefaultMaxSessions+1)
		}
	})
	t.Run("owner", func(t *testing.T) {
		t.Parallel()
		m := chat.NewMemorySessions(0)
		create(m, bob, "bobs")
		for i := range chat.MaxPerOwner + 1 {
			create(m, alice, fmt.Sprintf("s-%d", i))
		}
		if !gone(m, "s-0") || gone(m, "s-1") || gone(m, "bobs") {
			t.Error("not the owner's least recently active session went")
		}
		if list, _ := m.List(ctx, alice, 0); len(list) != chat.MaxPerOwner {
			t.Errorf("owner has %d sessions, want %d", len(list), chat.MaxPerOwner)
		}
	})
}
