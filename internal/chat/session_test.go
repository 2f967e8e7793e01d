package chat_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/finn"
	"dixie/internal/chat"
)

// brokenStore fails wherever its error is set.
type brokenStore struct {
	*chat.MemorySessions

	create, get, touch, list error
}

func (s *brokenStore) Create(ctx context.Context, session chat.Session) error {
	if s.create != nil {
		return s.create
	}
	return s.MemorySessions.Create(ctx, session)
}

func (s *brokenStore) Get(ctx context.Context, id string) (chat.Session, error) {
	if s.get != nil {
		return chat.Session{}, s.get
	}
	return s.MemorySessions.Get(ctx, id)
}

func (s *brokenStore) Touch(ctx context.Context, id string, at time.Time) error {
	if s.touch != nil {
		return s.touch
	}
	return s.MemorySessions.Touch(ctx, id, at)
}

func (s *brokenStore) List(ctx context.Context, owner string, limit int) ([]chat.Session, error) {
	if s.list != nil {
		return nil, s.list
	}
	return s.MemorySessions.List(ctx, owner, limit)
}

func TestStoreFailures(t *testing.T) {
	t.Parallel()
	down := errors.New("connection refused")
	store := &brokenStore{MemorySessions: chat.NewMemorySessions(0)}
	b := setup(t, &fakeFinn{}, func(c *chat.Config) { c.Sessions = store })
	id := b.say(t, "", "hello").SessionID
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, chat.ErrStoreUnavailable) || !errors.Is(err, down) {
			t.Errorf("%s = %v, want ErrStoreUnavailable wrapping the cause", what, err)
		}
	}

	store.create, store.get, store.list = down, down, down
	_, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, Prompt: "x"}, nil)
	check("Turn in a new session", err)
	_, err = b.Turn(t.Context(), chat.TurnRequest{Owner: alice, SessionID: id, Prompt: "x"}, nil)
	check("Turn", err)
	_, err = b.Session(t.Context(), alice, id)
	check("Session", err)
	_, err = b.Attach(t.Context(), alice, id)
	check("Attach", err)
	_, err = b.Sessions(t.Context(), alice)
	check("Sessions", err)
	if _, sent, _ := b.finn.calls(); len(sent) != 1 {
		t.Error("a prompt reached Finn although the owner could not be told")
	}

	// An answer that cannot be booked is still an answer.
	store.create, store.get, store.touch = nil, nil, down
	b.say(t, id, "again")
}

func TestSessionDetail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var answer error
		f := &fakeFinn{state: func(id string) (finn.SessionState, error) {
			return finn.SessionState{ID: id, IsStreaming: true, MessageCount: 7}, answer
		}}
		b := setup(t, f)
		start := time.Now()
		id := b.say(t, "", "x").SessionID
		got, err := b.Session(t.Context(), alice, id)
		want := chat.Detail{ID: id, IsStreaming: true, MessageCount: 7, CreatedAt: start, LastActivity: start}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Session: %v (-want +got):\n%s", err, diff)
		}

		answer = &finn.Error{Kind: finn.ErrSessionNotFound} // On Finn's disk only.
		got, err = b.Session(t.Context(), alice, id)
		want.IsStreaming, want.MessageCount = false, 2
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Session on disk: %v (-want +got):\n%s", err, diff)
		}

		answer = &finn.Error{Kind: finn.ErrCircuitOpen}
		if _, err = b.Session(t.Context(), alice, id); !errors.Is(err, finn.ErrCircuitOpen) {
			t.Errorf("Session = %v, want finn.ErrCircuitOpen", err)
		}
	})
}
