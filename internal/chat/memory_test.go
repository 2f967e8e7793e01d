package chat_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"dixie/internal/chat"
	"dixie/internal/chat/chattest"
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
	if !chat.NewMemorySessions(0).Ephemeral() {
		t.Error("Ephemeral() = false, want true")
	}
	chattest.Run(t, func(*testing.T) chat.SessionStore { return chat.NewMemorySessions(0) })
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
