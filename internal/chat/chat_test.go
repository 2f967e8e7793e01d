package chat_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dixie/finn"
	"dixie/internal/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a Finn that repeats prompts. Turns wait for hold, when it is there.
type backend struct {
	sessions atomic.Int32
	running  atomic.Int32
	most     atomic.Int32
	sends    atomic.Int32
	streams  atomic.Int32
	hold     chan struct{}
	words    int
}

func (b *backend) CreateSession(context.Context, finn.SessionOptions) (finn.Session, error) {
	return finn.Session{ID: fmt.Sprintf("s-%d", b.sessions.Add(1))}, nil
}

func (b *backend) turn(ctx context.Context, text string) (finn.Turn, error) {
	b.most.Store(max(b.most.Load(), b.running.Add(1)))
	defer b.running.Add(-1)
	if b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			return finn.Turn{}, ctx.Err()
		}
	}
	if text == "fail" {
		return finn.Turn{}, finn.ErrTurnFailed
	}
	return finn.Turn{Response: "re: " + text}, nil
}

func (b *backend) Send(ctx context.Context, _, text string) (finn.Turn, error) {
	b.sends.Add(1)
	return b.turn(ctx, text)
}

func (b *backend) Stream(ctx context.Context, _, text string, each func(finn.Event) error) (finn.Turn, error) {
	b.streams.Add(1)
	for range max(1, b.words) {
		if err := each(finn.Event{Kind: finn.TextDelta, Text: "w"}); err != nil {
			return finn.Turn{}, err
		}
	}
	return b.turn(ctx, text)
}

func (b *backend) Session(_ context.Context, id string) (finn.SessionState, error) {
	return finn.SessionState{ID: id, MessageCount: 2}, nil
}

func newService(t *testing.T, b *backend) *chat.Service {
	t.Helper()
	s := chat.New(chat.Config{Finn: b, Sessions: chat.NewMemorySessions(0)})
	t.Cleanup(func() { _ = s.Close(context.WithoutCancel(t.Context())) })
	return s
}

func open(t *testing.T, s *chat.Service, owner string) string {
	t.Helper()
	reply, err := s.Turn(t.Context(), chat.TurnRequest{Owner: owner, Prompt: "first"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return reply.SessionID
}

func kinds(t *testing.T, sub *chat.Subscription, n int) []string {
	t.Helper()
	var got []string
	for range n {
		e, ok := <-sub.Events()
		if !ok {
			return append(got, "closed")
		}
		got = append(got, e.Type)
	}
	return got
}

func TestOwners(t *testing.T) {
	t.Parallel()
	b := &backend{}
	s := newService(t, b)
	id := open(t, s, "wallet:a")
	before := b.sends.Load()
	for _, owner := range []string{"wallet:b", ""} {
		if _, err := s.Turn(t.Context(), chat.TurnRequest{Owner: owner, SessionID: id, Prompt: "x"}, nil); !errors.Is(err, chat.ErrSessionNotFound) {
			t.Errorf("turn of %q: %v", owner, err)
		}
		if _, err := s.Session(t.Context(), owner, id); !errors.Is(err, chat.ErrSessionNotFound) {
			t.Errorf("detail for %q: %v", owner, err)
		}
		if _, err := s.Attach(t.Context(), owner, id); !errors.Is(err, chat.ErrSessionNotFound) {
			t.Errorf("attach of %q: %v", owner, err)
		}
	}
	if b.sends.Load() != before {
		t.Error("Finn heard of a refused turn")
	}
	list, err := s.Sessions(t.Context(), "wallet:a")
	if err != nil || len(list) != 1 || list[0].FirstMessage != "first" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestTurnsOfASessionAreInLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		s := newService(t, b)
		one, two := open(t, s, "o"), open(t, s, "o")
		b.hold = make(chan struct{})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if _, err := s.Turn(t.Context(), chat.TurnRequest{Owner: "o", SessionID: []string{one, two}[i%2], Prompt: "x"}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := b.running.Load(); n != 2 {
			t.Errorf("%d turns run in two sessions", n)
		}
		close(b.hold)
		wg.Wait()
	})
}

func TestWaitingForASessionIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		s := newService(t, b)
		id := open(t, s, "o")
		b.hold = make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := s.Turn(t.Context(), chat.TurnRequest{Owner: "o", SessionID: id, Prompt: "x"}, nil)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the one that ran: %v", err)
			}
		})
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Turn(short, chat.TurnRequest{Owner: "o", SessionID: id, Prompt: "x"}, nil)
		if !errors.Is(err, chat.ErrBusy) {
			t.Errorf("the one that waited: %v", err)
		}
		wg.Wait() // It ends at the limit of a turn.
		close(b.hold)
		if _, err := s.Turn(t.Context(), chat.TurnRequest{Owner: "o", SessionID: id, Prompt: "x"}, nil); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestEventsAreDeliveredOnce(t *testing.T) {
	t.Parallel()
	b := &backend{}
	s := newService(t, b)
	id := open(t, s, "o")
	late, err := s.Attach(t.Context(), "o", id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"model_selection", "chunk", "done"}, kinds(t, late, 3)); diff != "" {
		t.Error(diff)
	}
	// With a listener the next turn is streamed, and both listeners get it.
	second, err := s.Attach(t.Context(), "o", id)
	if err != nil {
		t.Fatal(err)
	}
	b.words = 3
	if _, err := s.Turn(t.Context(), chat.TurnRequest{Owner: "o", SessionID: id, Prompt: "x"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []*chat.Subscription{late, second} {
		if diff := cmp.Diff([]string{"model_selection", "chunk", "chunk", "chunk", "done"}, kinds(t, sub, 5)); diff != "" {
			t.Error(diff)
		}
		sub.Close()
		sub.Close()
	}
	// Events that went to the caller are not kept for a listener.
	emitted := 0
	_, err = s.Turn(t.Context(), chat.TurnRequest{Owner: "o", SessionID: id, Prompt: "x"}, func(chat.Event) error { emitted++; return nil })
	if err != nil || emitted != 5 {
		t.Errorf("%d events, %v", emitted, err)
	}
	third, err := s.Attach(t.Context(), "o", id)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-third.Events():
		t.Errorf("an event was delivered twice: %+v", e)
	default:
	}
	third.Close()
}

func TestAFailedTurnEndsWithAnError(t *testing.T) {
	t.Parallel()
	s := newService(t, &backend{})
	id := open(t, s, "o")
	sub, err := s.Attach(t.Context(), "o", id)
	if err != nil {
		t.Fatal(err)
	}
	kinds(t, sub, 3)
	if _, err := s.Turn(t.Context(), chat.TurnRequest{Owner: "o", SessionID: id, Prompt: "fail"}, nil); !errors.Is(err, finn.ErrTurnFailed) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"model_selection", "chunk", "error"}, kinds(t, sub, 3)); diff != "" {
		t.Error(diff)
	}
	sub.Close()
}

func TestASlowListenerIsDropped(t *testing.T) {
	t.Parallel()
	b := &backend{}
	s := newService(t, b)
	id := open(t, s, "o")
	sub, err := s.Attach(t.Context(), "o", id)
	if err != nil {
		t.Fatal(err)
	}
	b.words = 5000
	if _, err := s.Turn(t.Context(), chat.TurnRequest{Owner: "o", SessionID: id, Prompt: "x"}, nil); err != nil {
		t.Fatalf("the turn waited for a listener: %v", err)
	}
	got := kinds(t, sub, 6000)
	if got[len(got)-1] != "closed" {
		t.Error("the listener was not dropped")
	}
	// What it missed is kept within the bound, with the end.
	next, err := s.Attach(t.Context(), "o", id)
	if err != nil {
		t.Fatal(err)
	}
	kept := kinds(t, next, 200)
	if kept[len(kept)-1] != "done" {
		t.Errorf("the last of %d kept events is %s", len(kept), kept[len(kept)-1])
	}
	select {
	case e := <-next.Events():
		t.Errorf("more than 200 events were kept: %+v", e)
	default:
	}
	next.Close()
}

func TestKeptEventsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, &backend{})
		id := open(t, s, "o")
		time.Sleep(5*time.Minute + time.Second) // fake clock
		sub, err := s.Attach(t.Context(), "o", id)
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		select {
		case e := <-sub.Events():
			t.Errorf("an old event was kept: %+v", e)
		default:
		}
	})
}

func TestMemorySessionsAreBounded(t *testing.T) {
	t.Parallel()
	m := chat.NewMemorySessions(3)
	for i := range 5 {
		err := m.Create(t.Context(), chat.Session{ID: strconv.Itoa(i), Owner: "o", LastActivity: time.Unix(int64(i), 0)})
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := m.List(t.Context(), "o", 10)
	if err != nil {
		t.Fatal(err)
	}
	ids := ""
	var idsSb309 strings.Builder
	for _, s := range list {
		idsSb309.WriteString(s.ID)
	}
	ids += idsSb309.String()
	if ids != "432" {
		t.Errorf("kept %s", ids)
	}
}

func TestFirstMessageIsCutByCharacters(t *testing.T) {
	t.Parallel()
	s := newService(t, &backend{})
	if _, err := s.Turn(t.Context(), chat.TurnRequest{Owner: "o", Prompt: strings.Repeat("é", 300)}, nil); err != nil {
		t.Fatal(err)
	}
	list, err := s.Sessions(t.Context(), "o")
	if err != nil || list[0].FirstMessage != strings.Repeat("é", 200) {
		t.Errorf("%q, %v", list[0].FirstMessage, err)
	}
}
