package chat_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dixie/finn"
	"dixie/internal/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	alice = "wallet:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
	bob   = "key:5e884898da28"
)

// fakeFinn answers with the prompt's words. Its hooks take the place of an answer.
type fakeFinn struct {
	send    func(ctx context.Context, id, text string) (finn.Turn, error)
	stream  func(ctx context.Context, id, text string, each func(finn.Event) error) (finn.Turn, error)
	state   func(id string) (finn.SessionState, error)
	newID   func(n int) string
	refused error // What CreateSession fails with.

	mu       sync.Mutex
	created  int
	sent     []string
	streamed []string
}

func (f *fakeFinn) CreateSession(context.Context, finn.SessionOptions) (finn.Session, error) {
	if f.refused != nil {
		return finn.Session{}, f.refused
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.created++
	id := fmt.Sprintf("s-%d", f.created)
	if f.newID != nil {
		id = f.newID(f.created)
	}
	return finn.Session{ID: id, Created: time.Now()}, nil
}

func (f *fakeFinn) Send(ctx context.Context, id, text string) (finn.Turn, error) {
	f.mu.Lock()
	f.sent = append(f.sent, text)
	f.mu.Unlock()
	if f.send != nil {
		return f.send(ctx, id, text)
	}
	return finn.Turn{Response: "echo: " + text}, nil
}

func (f *fakeFinn) Stream(ctx context.Context, id, text string, each func(finn.Event) error) (finn.Turn, error) {
	f.mu.Lock()
	f.streamed = append(f.streamed, text)
	f.mu.Unlock()
	if f.stream != nil {
		return f.stream(ctx, id, text, each)
	}
	return streamWords(text, each)
}

func (f *fakeFinn) Session(_ context.Context, id string) (finn.SessionState, error) {
	if f.state != nil {
		return f.state(id)
	}
	return finn.SessionState{ID: id, MessageCount: 2}, nil
}

func (f *fakeFinn) calls() (created int, sent, streamed []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.created, append([]string(nil), f.sent...), append([]string(nil), f.streamed...)
}

// streamWords streams text word by word.
func streamWords(text string, each func(finn.Event) error) (finn.Turn, error) {
	for word := range strings.SplitAfterSeq(text, " ") {
		if err := each(finn.Event{Kind: finn.TextDelta, Text: word}); err != nil {
			return finn.Turn{}, fmt.Errorf("each: %w", err)
		}
	}
	return finn.Turn{Response: text}, nil
}

// bundle is a service and what it is made of.
type bundle struct {
	*chat.Service

	finn     *fakeFinn
	sessions *chat.MemorySessions
}

func setup(tb testing.TB, f *fakeFinn, change ...func(*chat.Config)) *bundle {
	tb.Helper()
	b := &bundle{finn: f, sessions: chat.NewMemorySessions(0)}
	cfg := chat.Config{Finn: f, Sessions: b.sessions}
	for _, c := range change {
		c(&cfg)
	}
	s, err := chat.New(cfg)
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	b.Service = s
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return b
}

// say runs a turn that must be answered.
func (b *bundle) say(tb testing.TB, sessionID, prompt string) chat.Reply {
	tb.Helper()
	reply, err := b.Turn(tb.Context(), chat.TurnRequest{
		Owner: alice, SessionID: sessionID, Prompt: prompt, MessageID: "m-1", Pool: "pool_standard",
	}, nil)
	if err != nil {
		tb.Fatalf("Turn(%q): %v", prompt, err)
	}
	return reply
}

// attach subscribes alice, until the test ends.
func (b *bundle) attach(tb testing.TB, sessionID string) *chat.Subscription {
	tb.Helper()
	sub, err := b.Attach(tb.Context(), alice, sessionID)
	if err != nil {
		tb.Fatalf("Attach: %v", err)
	}
	tb.Cleanup(sub.Close)
	return sub
}

// waiting returns what the subscription has right now, as lines "type text", and confirms it.
func waiting(tb testing.TB, sub *chat.Subscription) []string {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	cancel() // An event that is there is returned all the same.
	var lines []string
	var last uint64
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return lines
		}
		if e.ID <= last {
			tb.Errorf("event id %d after %d", e.ID, last)
		}
		last = e.ID
		lines = append(lines, line(e))
	}
}

// line renders an event for comparison.
func line(e chat.Event) string {
	text := ""
	switch p := e.Payload.(type) {
	case chat.ModelSelection:
		text = p.Pool + "/" + p.Reason
	case chat.Chunk:
		text = p.Content
	case chat.ToolCall:
		text = strings.Join([]string{p.Name, p.Args, string(p.Status), p.Result}, "|")
	case chat.Done:
		text = p.Content
	case chat.Failure:
		text = p.Message
	}
	return e.Payload.Type() + " " + text
}

// turnLines are the events of a turn that was answered in one piece.
func turnLines(text string) []string {
	return []string{"model_selection pool_standard/tier_assignment", "chunk " + text, "done " + text}
}
