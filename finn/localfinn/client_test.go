package localfinn_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/finn"
	"dixie/finn/localfinn"
)

// session makes a session: sockets want one.
func session(t *testing.T, client *finn.Client) string {
	t.Helper()
	s, err := client.CreateSession(t.Context(), finn.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s.ID
}

// prompt runs a turn over HTTP or a socket, by whole.
func prompt(ctx context.Context, client *finn.Client, whole bool, id, text string) (finn.Turn, error) {
	if whole {
		return client.Send(ctx, id, text)
	}
	return client.Stream(ctx, id, text, nil)
}

func TestTurnsAgreeOverHTTPAndSocket(t *testing.T) {
	t.Parallel()
	client, _ := connect(t, localfinn.Config{Token: "finn-secret"})
	session, err := client.CreateSession(t.Context(), finn.SessionOptions{TokenID: "9"})
	if err != nil || time.Since(session.Created).Abs() > time.Minute {
		t.Fatalf("session %+v, %v", session, err)
	}
	long := strings.Repeat("wörd ", 2000)
	for _, text := range []string{
		"hello", "  spaced\n\tout \u00a0 ", "naïve ✓ and [[unknown]] [[sleep soon]]", "say [[tool search.web]] it [[tool b]]",
		"[[words 3]]", "[[tool x]]", long,
	} {
		whole, err := client.Send(t.Context(), session.ID, text)
		if err != nil {
			t.Fatal(err)
		}
		streamed, err := client.Stream(t.Context(), session.ID, text, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole, streamed); diff != "" {
			t.Errorf("prompt %.20q (-whole +streamed):\n%s", text, diff)
		}
	}
	state, err := client.Session(t.Context(), session.ID)
	if err != nil || state.MessageCount != 28 || state.IsStreaming {
		t.Errorf("state %+v, %v", state, err)
	}
}

func TestToolEventsComeInOrder(t *testing.T) {
	t.Parallel()
	client, _ := connect(t, localfinn.Config{})
	id := session(t, client)
	var got []string
	turn, err := client.Stream(t.Context(), id, "[[tool search]] one two", func(e finn.Event) error {
		got = append(got, e.Kind.String()+" "+e.Tool+e.Text+string(e.Args)+e.Result)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`tool_start search{"source":"local-finn"}`, `tool_end search{"ok":true}`,
		"text_delta You ", "text_delta said: ", "text_delta one ", "text_delta two",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if turn.Response != "You said: one two" || len(turn.ToolCalls) != 1 {
		t.Errorf("turn %+v", turn)
	}
}

func TestChunksArriveAsTheyAreMade(t *testing.T) {
	t.Parallel()
	const chunks = 5
	next := make(chan struct{})
	client, _ := connect(t, localfinn.Config{Responder: script(
		func(ctx context.Context, _ localfinn.Turn, emit func(finn.Event)) error {
			for i := range chunks {
				emit(say(strconv.Itoa(i)))
				select {
				case <-next: // The next chunk exists only once this one has arrived.
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})})
	id := session(t, client)
	turn, err := client.Stream(t.Context(), id, "go", func(finn.Event) error {
		next <- struct{}{}
		return nil
	})
	if err != nil || turn.Response != "01234" {
		t.Errorf("turn %+v, %v", turn, err)
	}
}

func TestFailingModel(t *testing.T) {
	t.Parallel()
	var log safeBuffer
	client, _ := connect(t, localfinn.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	id := session(t, client)
	for _, whole := range []bool{true, false} {
		_, err := prompt(t.Context(), client, whole, id, "my secret wish [[fail]]")
		if !errors.Is(err, finn.ErrTurnFailed) {
			t.Errorf("whole %v: %v", whole, err)
		}
		// The session is free again at once.
		if turn, err := prompt(t.Context(), client, whole, id, "well?"); err != nil {
			t.Errorf("whole %v: %+v, %v", whole, turn, err)
		}
	}
	if got := log.String(); strings.Count(got, "local_finn_model_failed") != 2 || strings.Contains(got, "secret wish") {
		t.Errorf("log %q", got)
	}
}

func TestPanickingResponder(t *testing.T) {
	t.Parallel()
	client, _ := connect(t, localfinn.Config{Responder: script(
		func(_ context.Context, turn localfinn.Turn, emit func(finn.Event)) error {
			emit(say(strings.Fields(turn.Prompt)[5]))
			return nil
		})})
	id := session(t, client)
	for _, whole := range []bool{true, false} {
		if _, err := prompt(t.Context(), client, whole, id, "hi"); !errors.Is(err, finn.ErrTurnFailed) {
			t.Errorf("whole %v: %v", whole, err)
		}
	}
}

func TestEndlessResponderIsCut(t *testing.T) {
	t.Parallel()
	client, _ := connect(t, localfinn.Config{Responder: script(
		func(ctx context.Context, _ localfinn.Turn, emit func(finn.Event)) error {
			for ctx.Err() == nil {
				emit(say(strings.Repeat("x", 1<<16)))
			}
			return ctx.Err()
		})})
	id := session(t, client)
	for _, whole := range []bool{true, false} {
		turn, err := prompt(t.Context(), client, whole, id, "hi")
		if !errors.Is(err, finn.ErrTurnFailed) || len(turn.Response) > localfinn.MaxAnswer {
			t.Errorf("whole %v: %d bytes, %v", whole, len(turn.Response), err)
		}
	}
}

// blocked is a responder that says one word and waits until it is aborted.
func blocked() (localfinn.Responder, <-chan struct{}, <-chan struct{}) {
	begun, ended := make(chan struct{}, 8), make(chan struct{}, 8)
	return script(func(ctx context.Context, turn localfinn.Turn, emit func(finn.Event)) error {
		if turn.Prompt == "quick" {
			emit(say("quick"))
			return nil
		}
		emit(say("so far"))
		begun <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	}), begun, ended
}

func TestCancelAbortsTheTurnAtFinn(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{true, false} {
		responder, begun, ended := blocked()
		client, _ := connect(t, localfinn.Config{Responder: responder})
		id := session(t, client)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := prompt(ctx, client, whole, id, "hi")
			done <- err
		}()
		<-begun
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("whole %v: %v", whole, err)
		}
		<-ended
		if !whole {
			// Stream has waited for the end: the session takes the next prompt.
			if _, err := client.Stream(t.Context(), id, "quick", nil); err != nil {
				t.Errorf("next prompt: %v", err)
			}
		}
	}
}

func TestSecondPromptOnABusySession(t *testing.T) {
	t.Parallel()
	responder, begun, _ := blocked()
	client, _ := connect(t, localfinn.Config{Responder: responder})
	id := session(t, client)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := client.Stream(ctx, id, "hi", nil)
		first <- err
	}()
	<-begun
	var e *finn.Error
	if _, err := client.Send(t.Context(), id, "quick"); !errors.As(err, &e) || e.Status != 500 || e.Code != "PROMPT_FAILED" {
		t.Errorf("over HTTP: %v", err)
	}
	state, err := client.Session(t.Context(), id)
	if err != nil || !state.IsStreaming {
		t.Errorf("state %+v, %v", state, err)
	}
	if _, err := client.Send(t.Context(), "other", "quick"); err != nil {
		t.Errorf("another session: %v", err)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v", err)
	}
}

func TestCloseAbortsRunningTurns(t *testing.T) {
	t.Parallel()
	responder, begun, ended := blocked()
	client, l := connect(t, localfinn.Config{Responder: responder})
	var wg sync.WaitGroup
	for _, whole := range []bool{true, false} {
		id := session(t, client)
		wg.Go(func() { _, _ = prompt(t.Context(), client, whole, id, "hi") })
	}
	<-begun
	<-begun
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	<-ended
	<-ended
	wg.Wait()
}

func TestShutdownLetsTurnsFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := localfinn.New(localfinn.Config{})
		answers := make(chan int, 2)
		for _, text := range []string{"[[sleep 5s]] short", "[[sleep 5m]] long"} {
			go func() { answers <- post(t, server, "s"+text[8:10], text).Code }()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		begun := time.Now()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took != 20*time.Second {
			t.Errorf("took %v", took)
		}
		// The long one was aborted: it ends with the text so far.
		if a, b := <-answers, <-answers; a != http.StatusOK || b != http.StatusOK {
			t.Errorf("status %d and %d", a, b)
		}
	})
}

func TestConversationIsRemembered(t *testing.T) {
	t.Parallel()
	turns := make(chan localfinn.Turn, 1)
	client, _ := connect(t, localfinn.Config{Responder: script(
		func(_ context.Context, turn localfinn.Turn, emit func(finn.Event)) error {
			turns <- turn
			emit(say("answer to " + turn.Prompt[:min(len(turn.Prompt), 5)]))
			return nil
		})})
	ask := func(text string) localfinn.Turn {
		t.Helper()
		if _, err := client.Send(t.Context(), "s", text); err != nil {
			t.Fatal(err)
		}
		return <-turns
	}
	ask("one")
	got := ask("two")
	want := localfinn.Turn{SessionID: "s", Prompt: "two", History: []localfinn.Message{
		{Role: localfinn.User, Text: "one"}, {Role: localfinn.Assistant, Text: "answer to one"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("turn (-want +got):\n%s", diff)
	}
	for range localfinn.MaxHistory {
		got = ask("more")
	}
	if len(got.History) != localfinn.MaxHistory {
		t.Errorf("%d messages remembered", len(got.History))
	}
	big := strings.Repeat("b", 100<<10)
	for range 4 {
		got = ask(big)
	}
	size := 0
	for _, m := range got.History {
		size += len(m.Text)
	}
	if size > localfinn.MaxHistoryBytes || size < len(big) {
		t.Errorf("%d bytes remembered", size)
	}
}

func TestBusyServerNeverRefusesASession(t *testing.T) {
	t.Parallel()
	client, l := connect(t, localfinn.Config{})
	var ids []string
	for range localfinn.MaxSessions + 20 {
		session, err := client.CreateSession(t.Context(), finn.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, session.ID)
		if len(ids) == 30 { // The first one is in use again, so it stays.
			if _, err := client.Send(t.Context(), ids[0], "still here"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := listed(t, l.URL()); len(got) != localfinn.MaxSessions {
		t.Errorf("%d sessions held", len(got))
	}
	if _, err := client.Session(t.Context(), ids[0]); err != nil {
		t.Errorf("the session in use was dropped: %v", err)
	}
	if _, err := client.Session(t.Context(), ids[1]); !errors.Is(err, finn.ErrSessionNotFound) {
		t.Errorf("the oldest session: %v", err)
	}
	// A dropped session can be used again, over a socket too.
	if _, err := client.Stream(t.Context(), ids[1], "back", nil); err != nil {
		t.Errorf("resumed: %v", err)
	}
	// One that never was cannot.
	if _, err := client.Stream(t.Context(), "never-was", "hi", nil); !errors.Is(err, finn.ErrSessionNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestServerFullOfRunningTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := localfinn.New(localfinn.Config{})
		defer func() { _ = server.Close(context.WithoutCancel(t.Context())) }()
		var wg sync.WaitGroup
		for i := range localfinn.MaxSessions {
			wg.Go(func() { post(t, server, "s"+strconv.Itoa(i), "[[sleep 1m]]") })
		}
		synctest.Wait()
		if got := post(t, server, "one-more", "hi"); got.Code != 500 || !strings.Contains(got.Body.String(), "SESSION_CREATE_FAILED") {
			t.Errorf("status %d %s", got.Code, got.Body)
		}
		wg.Wait()
		if got := post(t, server, "one-more", "hi"); got.Code != http.StatusOK {
			t.Errorf("status %d", got.Code)
		}
	})
}

func TestIdleSessionsAreDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := localfinn.New(localfinn.Config{})
		defer func() { _ = server.Close(t.Context()) }()
		post(t, server, "s", "hi")
		time.Sleep(localfinn.SessionIdle - time.Second) // fake clock
		if got := get(t, server, "/api/sessions/s"); got.Code != http.StatusOK {
			t.Errorf("before: status %d", got.Code)
		}
		time.Sleep(time.Second) // fake clock
		if got := get(t, server, "/api/sessions/s"); got.Code != http.StatusNotFound {
			t.Errorf("after: status %d", got.Code)
		}
	})
}

func TestSleepDirective(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"[[sleep 5s]] x":                  5 * time.Second,
		"[[sleep 1m30s]][[sleep 30s]]":    2 * time.Minute,
		"[[sleep 9m]] a [[sleep 9m]]":     localfinn.MaxSleep,
		"[[sleep 100h]]":                  localfinn.MaxSleep,
		"[[sleep -5s]] and [[sleep abc]]": 0,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := localfinn.New(localfinn.Config{})
				defer func() { _ = server.Close(t.Context()) }()
				begun := time.Now()
				if got := post(t, server, "s", text); got.Code != http.StatusOK {
					t.Errorf("status %d", got.Code)
				}
				if took := time.Since(begun); took != want {
					t.Errorf("took %v, want %v", took, want)
				}
			})
		})
	}
}

// safeBuffer is a buffer that goroutines may share.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func listed(t *testing.T, base string) []json.RawMessage {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/api/sessions", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	response, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct {
		Sessions []json.RawMessage `json:"sessions"`
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body.Sessions
}
