// Package chattest holds every [chat.SessionStore] and [chat.Relay] to its description. It is for tests only.
package chattest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/chat"
)

const (
	alice = "wallet:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
	bob   = "key:0123456789ab"
)

// Run runs the suite. open makes an empty store for each case.
func Run(t *testing.T, open func(t *testing.T) chat.SessionStore) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, chat.SessionStore){
		"SessionsAreKept":           sessionsAreKept,
		"AnIDIsNotGivenTwice":       anIDIsNotGivenTwice,
		"TurnsAreCounted":           turnsAreCounted,
		"ListsAreOrderedAndOnesOwn": listsAreOrderedAndOnesOwn,
		"OneOfManyCreates":          oneOfManyCreates,
		"OwnersAreBounded":          ownersAreBounded,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// start is a time that every store can keep exactly.
func start() time.Time { return time.Date(2026, 2, 26, 12, 0, 0, 123_456_000, time.UTC) }

func create(t *testing.T, store chat.SessionStore, id, owner string, at time.Time) chat.Session {
	t.Helper()
	s := chat.Session{ID: id, Owner: owner, FirstMessage: "What’s \"new\"?", CreatedAt: at, LastActivity: at}
	if err := store.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func sessionsAreKept(t *testing.T, store chat.SessionStore) {
	t.Helper()
	want := create(t, store, "s-1", alice, start())
	got, err := store.Get(t.Context(), "s-1")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Get: %v (-want +got)\n%s", err, diff)
	}
	// A prompt may hold any character.
	err = store.Create(t.Context(), chat.Session{
		ID: "s-3", Owner: alice, FirstMessage: "a\x00b\u202e\U0001f600", CreatedAt: start(), LastActivity: start(),
	})
	if err != nil {
		t.Errorf("Create with a strange prompt: %v", err)
	}
	if _, err := store.Get(t.Context(), "s-2"); !errors.Is(err, chat.ErrSessionNotFound) {
		t.Errorf("Get of none: %v, want ErrSessionNotFound", err)
	}
	if err := store.Touch(t.Context(), "s-2", start()); !errors.Is(err, chat.ErrSessionNotFound) {
		t.Errorf("Touch of none: %v, want ErrSessionNotFound", err)
	}
}

func anIDIsNotGivenTwice(t *testing.T, store chat.SessionStore) {
	t.Helper()
	create(t, store, "s-1", bob, start())
	if err := store.Create(t.Context(), chat.Session{ID: "s-1", Owner: alice, CreatedAt: start(), LastActivity: start()}); err == nil {
		t.Error("Create of an id that exists succeeded")
	}
	if s, err := store.Get(t.Context(), "s-1"); err != nil || s.Owner != bob {
		t.Errorf("the session is now %+v, %v; want bob's", s, err)
	}
}

func turnsAreCounted(t *testing.T, store chat.SessionStore) {
	t.Helper()
	want := create(t, store, "s-1", alice, start())
	later := start().Add(time.Hour)
	for _, at := range []time.Time{later, start(), start().Add(-time.Hour)} { // Never moved back.
		if err := store.Touch(t.Context(), "s-1", at); err != nil {
			t.Fatal(err)
		}
	}
	want.Turns, want.LastActivity = 3, later
	got, err := store.Get(t.Context(), "s-1")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("after three turns: %v (-want +got)\n%s", err, diff)
	}
}

func listsAreOrderedAndOnesOwn(t *testing.T, store chat.SessionStore) {
	t.Helper()
	for i, owner := range []string{alice, alice, bob, alice} {
		create(t, store, fmt.Sprintf("s-%d", i), owner, start().Add(time.Duration(i)*time.Second))
	}
	if err := store.Touch(t.Context(), "s-0", start().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		owner string
		limit int
		want  []string
	}{
		{alice, 0, []string{"s-0", "s-3", "s-1"}},
		{alice, -1, []string{"s-0", "s-3", "s-1"}},
		{alice, 2, []string{"s-0", "s-3"}},
		{bob, 5, []string{"s-2"}},
		{"wallet:nobody", 5, nil},
	} {
		list, err := store.List(t.Context(), tc.owner, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, s := range list {
			ids = append(ids, s.ID)
		}
		if diff := cmp.Diff(tc.want, ids); diff != "" {
			t.Errorf("List(%q, %d) (-want +got)\n%s", tc.owner, tc.limit, diff)
		}
	}
}

func oneOfManyCreates(t *testing.T, store chat.SessionStore) {
	t.Helper()
	var wg sync.WaitGroup
	var made atomic.Int32
	for range 10 {
		wg.Go(func() {
			if store.Create(t.Context(), chat.Session{ID: "s-1", Owner: alice, CreatedAt: start(), LastActivity: start()}) == nil {
				made.Add(1)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d of ten creates of one id succeeded", made.Load())
	}
}

func ownersAreBounded(t *testing.T, store chat.SessionStore) {
	t.Helper()
	create(t, store, "bobs", bob, start().Add(-time.Hour))
	for i := range chat.MaxPerOwner + 1 {
		create(t, store, fmt.Sprintf("s-%d", i), alice, start().Add(time.Duration(i)*time.Millisecond))
	}
	list, err := store.List(t.Context(), alice, 0)
	if err != nil || len(list) != chat.MaxPerOwner {
		t.Errorf("the owner has %d sessions, %v; want %d", len(list), err, chat.MaxPerOwner)
	}
	if _, err := store.Get(t.Context(), "s-0"); !errors.Is(err, chat.ErrSessionNotFound) {
		t.Errorf("the least recently active one: %v, want ErrSessionNotFound", err)
	}
	if _, err := store.Get(t.Context(), "bobs"); err != nil {
		t.Errorf("another's session: %v", err)
	}
}
