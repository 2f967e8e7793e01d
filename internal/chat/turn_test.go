package chat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/finn"
	"dixie/internal/chat"
)

func TestNewNamesEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := chat.New(chat.Config{TurnLimit: -1})
	if !errors.Is(err, chat.ErrConfig) {
		t.Fatalf("New = %v, want ErrConfig", err)
	}
	for _, want := range []string{"backend", "session store", "turn limit"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name the %s", err, want)
		}
	}
}

func TestTurnBeginsASession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, &fakeFinn{})
		start := time.Now()
		prompt := strings.Repeat("é", 250)
		reply := b.say(t, "", prompt)
		if diff := cmp.Diff(chat.Reply{SessionID: "s-1", Response: "echo: " + prompt}, reply); diff != "" {
			t.Errorf("reply (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute) // fake clock
		b.say(t, "s-1", "again")
		created, sent, _ := b.finn.calls()
		if created != 1 || len(sent) != 2 {
			t.Errorf("Finn made %d sessions and got %d prompts, want 1 and 2", created, len(sent))
		}
		list, err := b.Sessions(t.Context(), alice)
		if err != nil {
			t.Fatal(err)
		}
		want := []chat.Session{{
			ID: "s-1", Owner: alice, FirstMessage: strings.Repeat("é", 200),
			CreatedAt: start, LastActivity: start.Add(time.Minute), Turns: 2,
		}}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Errorf("sessions (-want +got):\n%s", diff)
		}
	})
}

func TestOthersSessionsDoNotExist(t *testing.T) {
	t.Parallel()
	b := setup(t, &fakeFinn{state: func(string) (finn.SessionState, error) {
		t.Error("Finn was asked about a session that is not the caller's")
		return finn.SessionState{}, nil
	}})
	id := b.say(t, "", "hello").SessionID
	before, sent, _ := b.finn.calls()
	for name, session := range map[string]string{
		"another's": id, "unknown": "s-404", "no id at all": "../../etc", "overlong": strings.Repeat("a", 129),
	} {
		if _, err := b.Turn(t.Context(), chat.TurnRequest{Owner: bob, SessionID: session, Prompt: "x"}, nil); !errors.Is(err, chat.ErrSessionNotFound) {
			t.Errorf("%s: Turn = %v, want ErrSessionNotFound", name, err)
		}
		if _, err := b.Session(t.Context(), bob, session); !errors.Is(err, chat.ErrSessionNotFound) {
			t.Errorf("%s: Session = %v, want ErrSessionNotFound", name, err)
		}
		if _, err := b.Attach(t.Context(), bob, session); !errors.Is(err, chat.ErrSessionNotFound) {
			t.Errorf("%s: Attach = %v, want ErrSessionNotFound", name, err)
		}
	}
	if _, err := b.Turn(t.Context(), chat.TurnRequest{Prompt: "x"}, nil); !errors.Is(err, chat.ErrSessionNotFound) {
		t.Errorf("Turn without an owner = %v, want ErrSessionNotFound", err)
	}
	if list, err := b.Sessions(t.Context(), bob); err != nil || len(list) != 0 {
		t.Errorf("Sessions = %v, %v; want none", list, err)
	}
	if created, now, _ := b.finn.calls(); created != before || len(now) != len(sent) {
		t.Error("Finn was called for a session that is not the caller's")
	}
}

func TestUnfitPromptsReachNobody(t *testing.T) {
	t.Parallel()
	b := setup(t, &fakeFinn{})
	for _, prompt := range []string{"", " \n\t", "bad \xff"} {
		_, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, Prompt: prompt}, nil)
		if !errors.Is(err, finn.ErrRefused) {
			t.Errorf("Turn(%q) = %v, want finn.ErrRefused", prompt, err)
		}
	}
	if created, _, _ := b.finn.calls(); created != 0 {
		t.Error("a session was made for a prompt that cannot be sent")
	}
}

func TestEventsOfATurn(t *testing.T) {
	t.Parallel()
	calls := []finn.ToolCall{
		{Name: "search", Args: json.RawMessage(`{"q":"a"}`), Result: "A"},
		{Name: "search", Args: json.RawMessage(`{"q":"b"}`), Result: "B"},
		{Name: "clock", Result: "noon"},
	}
	f := &fakeFinn{
		send: func(context.Context, string, string) (finn.Turn, error) {
			return finn.Turn{Response: "the answer", ToolCalls: calls}, nil
		},
		stream: func(_ context.Context, _, _ string, each func(finn.Event) error) (finn.Turn, error) {
			for _, e := range []finn.Event{
				{Kind: finn.ToolStart, Tool: "search", Args: calls[0].Args},
				{Kind: finn.ToolStart, Tool: "search", Args: calls[1].Args},
				{Kind: finn.ToolStart, Tool: "clock"},
				{Kind: finn.ToolEnd, Tool: "clock", Result: "noon"},
				{Kind: finn.ToolEnd, Tool: "search", Result: "A"},
				{Kind: finn.ToolEnd, Tool: "search", Result: "B"},
				{Kind: finn.ToolEnd, Tool: "never-started", Result: "?"},
				{Kind: finn.TextDelta, Text: "the "},
				{Kind: finn.TextDelta, Text: "answer"},
			} {
				if err := each(e); err != nil {
					return finn.Turn{}, err
				}
			}
			return finn.Turn{Response: "the answer", ToolCalls: calls}, nil
		},
	}
	whole := []string{
		"model_selection pool_standard/tier_assignment",
		`tool_call search|{"q":"a"}|running|`, `tool_call search|{"q":"a"}|done|A`,
		`tool_call search|{"q":"b"}|running|`, `tool_call search|{"q":"b"}|done|B`,
		`tool_call clock|{}|running|`, `tool_call clock|{}|done|noon`,
		"chunk the answer", "done the answer",
	}
	streamed := []string{
		"model_selection pool_standard/tier_assignment",
		`tool_call search|{"q":"a"}|running|`, `tool_call search|{"q":"b"}|running|`, `tool_call clock|{}|running|`,
		`tool_call clock|{}|done|noon`, `tool_call search|{"q":"a"}|done|A`, `tool_call search|{"q":"b"}|done|B`,
		`tool_call never-started|{}|done|?`,
		"chunk the ", "chunk answer", "done the answer",
	}

	b := setup(t, f)
	reply := b.say(t, "", "x")
	if diff := cmp.Diff(calls, reply.ToolCalls); diff != "" {
		t.Errorf("tool calls (-want +got):\n%s", diff)
	}
	sub := b.attach(t, reply.SessionID)
	if diff := cmp.Diff(whole, waiting(t, sub)); diff != "" {
		t.Errorf("events of a whole answer (-want +got):\n%s", diff)
	}
	b.say(t, reply.SessionID, "x") // Somebody watches now.
	if diff := cmp.Diff(streamed, waiting(t, sub)); diff != "" {
		t.Errorf("events of a streamed answer (-want +got):\n%s", diff)
	}
	sub.Close()
	b.say(t, reply.SessionID, "x")
	if _, sent, streams := f.calls(); len(sent) != 2 || len(streams) != 1 {
		t.Errorf("%d whole and %d streamed turns, want 2 and 1", len(sent), len(streams))
	}
}

func TestEventsAsJSON(t *testing.T) {
	t.Parallel()
	done := chat.ToolCall{Name: "n", Args: `{"a":1}`, Status: chat.ToolDone, Result: "ok"}
	for want, p := range map[string]chat.Payload{
		`model_selection {"model":"","pool":"p","reason":"tier_assignment"}`: chat.ModelSelection{Pool: "p", Reason: chat.ReasonTier},
		`chunk {"content":"a"}`:                                                   chat.Chunk{Content: "a"},
		`tool_call {"name":"n","args":"{}","status":"running"}`:                   chat.ToolCall{Name: "n", Args: "{}", Status: chat.ToolRunning},
		`tool_call {"name":"n","args":"{\"a\":1}","status":"done","result":"ok"}`: done,
		`done {"content":"all"}`:                                                  chat.Done{Content: "all"},
		`error {"message":"m"}`:                                                   chat.Failure{Message: "m"},
	} {
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Type() + " " + string(data); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestChunksPassAsTheyCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		next := make(chan struct{})
		b := setup(t, &fakeFinn{stream: func(_ context.Context, _, _ string, each func(finn.Event) error) (finn.Turn, error) {
			_ = each(finn.Event{Kind: finn.TextDelta, Text: "one"})
			<-next
			_ = each(finn.Event{Kind: finn.TextDelta, Text: "two"})
			return finn.Turn{Response: "onetwo"}, nil
		}})
		id := open(t, b)
		sub := b.attach(t, id)
		var sse []string
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, SessionID: id, Prompt: "x"}, func(e chat.Event) error {
				sse = append(sse, line(e))
				return nil
			})
			if err != nil {
				t.Errorf("Turn: %v", err)
			}
		})
		synctest.Wait()
		half := []string{"model_selection /tier_assignment", "chunk one"}
		if diff := cmp.Diff(half, sse); diff != "" {
			t.Errorf("server-sent before the second chunk (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(half, waiting(t, sub)); diff != "" {
			t.Errorf("subscription before the second chunk (-want +got):\n%s", diff)
		}
		close(next)
		wg.Wait()
		if diff := cmp.Diff([]string{"chunk two", "done onetwo"}, waiting(t, sub)); diff != "" {
			t.Errorf("rest (-want +got):\n%s", diff)
		}
	})
}

func TestTurnsOfOneSessionAreInLine(t *testing.T) {
	t.Parallel()
	for name, sessions := range map[string]int{"one session": 1, "eight sessions": 8} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				inside, most := 0, 0
				f := &fakeFinn{}
				b := setup(t, f)
				var all []string
				for range sessions {
					all = append(all, b.say(t, "", "hello").SessionID)
				}
				f.send = func(context.Context, string, string) (finn.Turn, error) {
					mu.Lock()
					inside++
					most = max(most, inside)
					mu.Unlock()
					time.Sleep(time.Second) // fake clock
					mu.Lock()
					inside--
					mu.Unlock()
					return finn.Turn{Response: "ok"}, nil
				}
				start := time.Now()
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() { b.say(t, all[i%sessions], "x") })
				}
				wg.Wait()
				if most != sessions {
					t.Errorf("%d turns at once, want %d", most, sessions)
				}
				if got, want := time.Since(start), time.Duration(8/sessions)*time.Second; got != want {
					t.Errorf("took %v, want %v", got, want)
				}
			})
		})
	}
}

func TestBackendErrorsPassWrapped(t *testing.T) {
	t.Parallel()
	full := &finn.Error{Kind: finn.ErrUpstream, Code: "SESSION_CREATE_FAILED", Status: 500}
	b := setup(t, &fakeFinn{refused: full})
	_, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, Prompt: "x"}, nil)
	var got *finn.Error
	if !errors.As(err, &got) || got != full {
		t.Errorf("Turn = %v, want it to wrap %v", err, full)
	}
}

// TestPanickingInteractionHook: the client has its answer, the session its turn, and the log no word of the panic's.
func TestPanickingInteractionHook(t *testing.T) {
	t.Parallel()
	var logs bytes.Buffer
	b := setup(t, &fakeFinn{}, func(c *chat.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&logs, nil))
		c.OnInteraction = func(context.Context, chat.Interaction) { panic("secret") } //nolint:forbidigo // It is what the test is about.
	})
	for range 2 {
		if _, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, Prompt: "x"}, nil); err != nil {
			t.Errorf("Turn: %v", err)
		}
	}
	if said := logs.String(); strings.Count(said, "level=ERROR msg=chat_interaction_hook_panicked") != 2 || strings.Contains(said, "secret") {
		t.Errorf("the log says %q", said)
	}
}

func TestInteractions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []chat.Interaction
		f := &fakeFinn{}
		b := setup(t, f, func(c *chat.Config) {
			c.OnInteraction = func(_ context.Context, i chat.Interaction) { got = append(got, i) }
		})
		for _, owner := range []string{alice, bob} {
			_, err := b.Turn(t.Context(), chat.TurnRequest{Owner: owner, Prompt: "x", MessageID: "m"}, nil)
			if err != nil {
				t.Fatal(err)
			}
		}
		f.send = func(context.Context, string, string) (finn.Turn, error) {
			return finn.Turn{}, &finn.Error{Kind: finn.ErrTurnFailed}
		}
		if _, err := b.Turn(t.Context(), chat.TurnRequest{Owner: alice, Prompt: "x"}, nil); err == nil {
			t.Error("the turn did not fail")
		}
		want := []chat.Interaction{
			{Wallet: strings.TrimPrefix(alice, "wallet:"), SessionID: "s-1", MessageID: "m", At: time.Now()},
			{SessionID: "s-2", MessageID: "m", At: time.Now()},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("interactions (-want +got):\n%s", diff)
		}
	})
}
