package chat_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"dixie/internal/chat"
)

func TestReadersPerSessionAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, &fakeFinn{})
	id := open(t, b)
	oldest := b.attach(t, id)
	second := b.attach(t, id)
	for range 63 {
		b.attach(t, id)
	}
	if _, err := oldest.Next(t.Context()); !errors.Is(err, chat.ErrDisplaced) {
		t.Errorf("the oldest of 65 readers: %v, want ErrDisplaced", err)
	}
	oldest.Close() // Must not take anybody's place.
	b.say(t, id, "x")
	if got := waiting(t, second); len(got) != 3 {
		t.Errorf("the second reader got %d events, want 3", len(got))
	}
}

// crowd attaches n readers of owner, ten to a session.
func crowd(t *testing.T, b *bundle, owner string, n int) []*chat.Subscription {
	t.Helper()
	subs := make([]*chat.Subscription, 0, n)
	for i := range n {
		id := fmt.Sprintf("%s-%d", strings.TrimPrefix(owner, "wallet:"), i/10)
		if i%10 == 0 {
			if err := b.sessions.Create(t.Context(), chat.Session{ID: id, Owner: owner}); err != nil {
				t.Fatal(err)
			}
		}
		sub, err := b.Attach(t.Context(), owner, id)
		if err != nil {
			t.Fatalf("Attach %d of %s: %v", i, owner, err)
		}
		t.Cleanup(sub.Close)
		subs = append(subs, sub)
	}
	return subs
}

func TestReadersPerOwnerAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, &fakeFinn{})
	subs := crowd(t, b, "wallet:a", 1000)
	if _, err := b.Attach(t.Context(), "wallet:a", "a-0"); !errors.Is(err, chat.ErrTooManyReaders) {
		t.Errorf("Attach beyond the owner's bound = %v, want ErrTooManyReaders", err)
	}
	crowd(t, b, "wallet:b", 1)
	subs[0].Close()
	subs[0].Close()
	if _, err := b.Attach(t.Context(), "wallet:a", "a-1"); err != nil {
		t.Errorf("Attach in place of a closed one = %v", err)
	}
	if _, err := b.Attach(t.Context(), "wallet:a", "a-1"); !errors.Is(err, chat.ErrTooManyReaders) {
		t.Errorf("Attach after one was closed twice = %v, want ErrTooManyReaders", err)
	}
}

func TestReadersAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, &fakeFinn{})
	var subs []*chat.Subscription
	for i := range 10 {
		subs = append(subs, crowd(t, b, fmt.Sprint("wallet:w", i), 1000)...)
	}
	if err := b.sessions.Create(t.Context(), chat.Session{ID: "s", Owner: alice}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Attach(t.Context(), alice, "s"); !errors.Is(err, chat.ErrTooManyReaders) {
		t.Errorf("Attach beyond the bound = %v, want ErrTooManyReaders", err)
	}
	subs[0].Close()
	b.attach(t, "s")
	if _, err := b.Attach(t.Context(), alice, "s"); !errors.Is(err, chat.ErrTooManyReaders) {
		t.Errorf("Attach after one was closed = %v, want one place", err)
	}
}
