package chat_test

import (
	"context"
	"testing"

	"dixie/finn"
	"dixie/internal/chat"
)

// BenchmarkTurn is what chat adds to a whole answer whose events nobody reads.
func BenchmarkTurn(b *testing.B) {
	s := setup(b, &fakeFinn{})
	id := s.say(b, "", "hello").SessionID
	b.ReportAllocs()
	for b.Loop() {
		s.say(b, id, "hello")
	}
}

// BenchmarkChunk is the way of a streamed chunk to one subscription.
func BenchmarkChunk(b *testing.B) {
	f := &fakeFinn{}
	s := setup(b, f)
	id := s.say(b, "", "hello").SessionID
	sub := s.attach(b, id)
	f.stream = func(ctx context.Context, _, _ string, each func(finn.Event) error) (finn.Turn, error) {
		b.ReportAllocs()
		for b.Loop() {
			if err := each(finn.Event{Kind: finn.TextDelta, Text: "word "}); err != nil {
				return finn.Turn{}, err
			}
			if _, err := sub.Next(ctx); err != nil {
				return finn.Turn{}, err
			}
		}
		return finn.Turn{Response: "done"}, nil
	}
	s.say(b, id, "go")
}

// BenchmarkHeldChunk is a chunk that nobody reads, with the buffer full.
func BenchmarkHeldChunk(b *testing.B) {
	f := &fakeFinn{}
	s := setup(b, f)
	id := s.say(b, "", "hello").SessionID
	sub := s.attach(b, id)
	f.stream = func(_ context.Context, _, _ string, each func(finn.Event) error) (finn.Turn, error) {
		sub.Close()
		b.ReportAllocs()
		for b.Loop() {
			if err := each(finn.Event{Kind: finn.TextDelta, Text: "word "}); err != nil {
				return finn.Turn{}, err
			}
		}
		return finn.Turn{Response: "done"}, nil
	}
	s.say(b, id, "go")
}

// BenchmarkMemorySessionsGet is the check of ownership that precedes every turn.
func BenchmarkMemorySessionsGet(b *testing.B) {
	m := chat.NewMemorySessions(0)
	if err := m.Create(b.Context(), chat.Session{ID: "s", Owner: alice}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.Get(b.Context(), "s"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
