// Package finnrunner runs fleet tasks on Finn: each attempt is a session of its own, the task's prompt
// is its one turn, and what Finn says and which tools it uses become the task's log. A [Runner] is safe
// for concurrent use and owns nothing; the client stays its maker's.
//
// Two limits hold for an attempt: the task's own, in minutes, and the client's for a turn
// (finn.Config.TurnTimeout, 120 s unless set). Work that takes longer needs a client with a longer
// TurnTimeout and, if the agent is silent while it works, a longer IdleTimeout.
package finnrunner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"dixie/finn"
	"dixie/fleet"
)

// Finn is what a [Runner] needs of a [finn.Client].
type Finn interface {
	// CreateSession opens a session.
	CreateSession(ctx context.Context, options finn.SessionOptions) (finn.Session, error)
	// Stream runs one turn, hands each event to each, and aborts the turn at Finn when ctx ends.
	Stream(ctx context.Context, sessionID, text string, each func(finn.Event) error) (finn.Turn, error)
}

var (
	_ Finn         = (*finn.Client)(nil)
	_ fleet.Runner = (*Runner)(nil)
)

// Runner is a [fleet.Runner] on Finn. Make one with [New].
type Runner struct {
	finn Finn
}

// New returns a runner that uses the client.
func New(client Finn) (*Runner, error) {
	if client == nil {
		return nil, errors.New("finnrunner: the client is missing")
	}
	return &Runner{finn: client}, nil
}

// Run implements [fleet.Runner]. The task is running as soon as its session exists, which does not wait
// for the first word. Text goes to the log line by line, a tool as one line for its call and one for its
// result. Failures are [*fleet.RunError]s; Finn refusing our credential or the request itself is
// permanent, everything else may pass.
func (r *Runner) Run(ctx context.Context, job fleet.Job, report fleet.Report) error {
	session, err := r.finn.CreateSession(ctx, finn.SessionOptions{})
	if err != nil {
		return classify(err)
	}
	report.Started(session.ID)
	said := false
	lines := fleet.NewLineWriter(report.Log)
	turn, err := r.finn.Stream(ctx, session.ID, job.Prompt, func(e finn.Event) error {
		switch e.Kind {
		case finn.TextDelta:
			said = said || e.Text != ""
			_, _ = io.WriteString(lines, e.Text) // It does not fail.
		case finn.ToolStart:
			_ = lines.Close() // It does not fail.
			report.Log(toolCall(e))
		case finn.ToolEnd:
			_ = lines.Close() // It does not fail.
			report.Log(toolResult(e))
		}
		return nil
	})
	if err == nil && !said {
		_, _ = io.WriteString(lines, turn.Response) // It does not fail.
	}
	_ = lines.Close() // It does not fail.
	if err != nil {
		return classify(err)
	}
	return nil
}

// maxToolText bounds what a line tells of a tool's arguments or result.
const maxToolText = 500

func toolCall(e finn.Event) string {
	return "[tool] " + name(e.Tool) + oneLine(" ", compact(e.Args))
}

func toolResult(e finn.Event) string {
	outcome := " done"
	if e.IsError {
		outcome = " failed"
	}
	return "[tool] " + name(e.Tool) + outcome + oneLine(": ", e.Result)
}

func name(tool string) string {
	if tool = oneLine("", tool); tool == "" {
		return "unnamed"
	}
	return tool
}

func compact(args json.RawMessage) string {
	if text := string(args); text != "null" && text != "{}" {
		return text
	}
	return ""
}

// oneLine is the text in one short line after a separator, or nothing.
func oneLine(separator, text string) string {
	if len(text) > maxToolText {
		text = strings.ToValidUTF8(text[:maxToolText], "") + "…"
	}
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return ""
	}
	return separator + text
}

// classify says what a failure of Finn means for the task.
func classify(err error) error {
	out := &fleet.RunError{Reason: "finn_error", Err: fmt.Errorf("finnrunner: %w", err)}
	if failed, ok := errors.AsType[*finn.Error](err); ok {
		out.RetryAfter = failed.RetryAfter
	}
	for _, known := range []struct {
		sentinel  error
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
		{finn.ErrCredential, "credential_refused", true},
		{finn.ErrRefused, "request_refused", true},
	} {
		if errors.Is(err, known.sentinel) {
			out.Reason, out.Permanent = known.reason, known.permanent
			break
		}
	}
	return out
}
