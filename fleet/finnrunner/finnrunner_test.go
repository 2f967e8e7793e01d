package finnrunner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dixie/finn"
	"dixie/fleet"
	"dixie/fleet/finnrunner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeFinn answers with the events it is given.
type fakeFinn struct {
	createErr, streamErr error
	events               []finn.Event
	turn                 finn.Turn
	block                bool

	mu     sync.Mutex
	prompt string
}

func (f *fakeFinn) CreateSession(context.Context, finn.SessionOptions) (finn.Session, error) {
	return finn.Session{ID: "session-1"}, f.createErr
}

func (f *fakeFinn) Stream(ctx context.Context, id, text string, each func(finn.Event) error) (finn.Turn, error) {
	f.mu.Lock()
	f.prompt = id + ": " + text
	f.mu.Unlock()
	for _, e := range f.events {
		if err := each(e); err != nil {
			return finn.Turn{}, err
		}
	}
	if f.block {
		<-ctx.Done()
		return finn.Turn{}, ctx.Err()
	}
	return f.turn, f.streamErr
}

// diary is a report that writes everything down.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) Started(reference string) { d.add("started " + reference) }
func (d *diary) Log(text string)          { d.add(text) }
func (d *diary) PullRequest(number int)   { d.add(fmt.Sprint("pull request ", number)) }

func run(t *testing.T, ctx context.Context, f *fakeFinn) ([]string, error) { //nolint:revive // t first, like everywhere in tests.
	t.Helper()
	runner, err := finnrunner.New(f)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	var d diary
	err = runner.Run(ctx, fleet.Job{Prompt: "Fix the door"}, &d)
	return d.lines, err
}

func TestRunWritesTheLog(t *testing.T) {
	t.Parallel()
	f := &fakeFinn{events: []finn.Event{
		{Kind: finn.TextDelta, Text: "I look "}, {Kind: finn.TextDelta, Text: "at it.\nThen"},
		{Kind: finn.ToolStart, Tool: "read", Args: json.RawMessage(`{"path":"door"}`)},
		{Kind: finn.ToolEnd, Tool: "read", Result: "oak\nwood"},
		{Kind: finn.ToolStart, Tool: "", Args: json.RawMessage(`{}`)},
		{Kind: finn.ToolEnd, Tool: "saw", IsError: true},
		{Kind: finn.TextDelta, Text: " done."},
	}, turn: finn.Turn{Response: "not again"}}
	got, err := run(t, t.Context(), f)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	want := []string{
		"started session-1", "I look at it.", "Then", `[tool] read {"path":"door"}`, "[tool] read done: oak wood",
		"[tool] unnamed", "[tool] saw failed", " done.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if f.prompt != "session-1: Fix the door" {
		t.Errorf("Finn was asked %q", f.prompt)
	}
}

func TestRunLogsAnAnswerWithoutEvents(t *testing.T) {
	t.Parallel()
	got, err := run(t, t.Context(), &fakeFinn{turn: finn.Turn{Response: "one\ntwo"}})
	if diff := cmp.Diff([]string{"started session-1", "one", "two"}, got); err != nil || diff != "" {
		t.Errorf("Run: %v, report (-want +got):\n%s", err, diff)
	}
}

func TestRunBoundsToolLines(t *testing.T) {
	t.Parallel()
	got, err := run(t, t.Context(), &fakeFinn{events: []finn.Event{
		{Kind: finn.ToolEnd, Tool: strings.Repeat("n", 9000), Result: strings.Repeat("ü", 9000)},
	}})
	if err != nil || len(got) != 2 || len(got[1]) > 1100 {
		t.Errorf("Run: %v, a tool line of %d bytes", err, len(got[len(got)-1]))
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err       error
		reason    string
		permanent bool
	}{
		{finn.ErrCircuitOpen, "circuit_open", false},
		{finn.ErrUnavailable, "finn_unavailable", false},
		{finn.ErrTurnFailed, "turn_failed", false},
		{finn.ErrBudgetExceeded, "budget_exceeded", false},
		{finn.ErrRateLimited, "rate_limited", false},
		{finn.ErrModelUnavailable, "model_unavailable", false},
		{finn.ErrProvider, "provider_error", false},
		{finn.ErrSessionNotFound, "session_lost", false},
		{finn.ErrUpstream, "finn_error", false},
		{finn.ErrCredential, "credential_refused", true},
		{finn.ErrRefused, "request_refused", true},
		{errors.New("odd"), "finn_error", false},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			for _, f := range []*fakeFinn{{createErr: fmt.Errorf("x: %w", c.err)}, {streamErr: fmt.Errorf("x: %w", c.err)}} {
				lines, err := run(t, t.Context(), f)
				var failed *fleet.RunError
				if !errors.As(err, &failed) || failed.Reason != c.reason || failed.Permanent != c.permanent || !errors.Is(err, c.err) {
					t.Errorf("Run: %+v, want %s, permanent %v", err, c.reason, c.permanent)
				}
				if started := len(lines) > 0; started != (f.createErr == nil) {
					t.Errorf("reported %q", lines)
				}
			}
		})
	}
}

func TestRunHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	_, err := run(t, t.Context(), &fakeFinn{createErr: &finn.Error{RetryAfter: 77}})
	var failed *fleet.RunError
	if !errors.As(err, &failed) || failed.RetryAfter != 77 {
		t.Errorf("Run: %+v, want Finn's own RetryAfter", failed)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lines, err := run(t, ctx, &fakeFinn{block: true, events: []finn.Event{{Kind: finn.TextDelta, Text: "half a"}}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want the context's error", err)
	}
	if diff := cmp.Diff([]string{"started session-1", "half a"}, lines); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestNewWantsAClient(t *testing.T) {
	t.Parallel()
	if _, err := finnrunner.New(nil); err == nil {
		t.Error("New without a client must fail")
	}
}
