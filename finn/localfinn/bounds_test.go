package localfinn_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dixie/finn"
	"dixie/finn/localfinn"
)

func TestTurnsAreBoundedInTime(t *testing.T) {
	t.Parallel()
	if localfinn.DefaultTurnTimeout <= localfinn.MaxSleep {
		t.Error("the default limit cuts the longest sleep")
	}
	for name, tc := range map[string]struct{ set, want time.Duration }{
		"default":    {0, localfinn.DefaultTurnTimeout},
		"negative":   {-time.Second, localfinn.DefaultTurnTimeout},
		"configured": {time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log safeBuffer
				responder, begun, ended := blocked()
				server := localfinn.New(localfinn.Config{
					Responder: responder, TurnTimeout: tc.set, Logger: slog.New(slog.NewTextHandler(&log, nil)),
				})
				d, stop := virtual(t, server, "quick")
				defer stop()
				turn := func(how string, run func()) {
					t.Helper()
					start := time.Now()
					run()
					<-begun
					<-ended
					if took := time.Since(start); took != tc.want {
						t.Errorf("%s: ended after %v", how, took)
					}
					synctest.Wait()
					if got := get(t, server, "/api/sessions/s").Body.String(); !strings.Contains(got, `"isStreaming":false`) {
						t.Errorf("%s: state %s", how, got)
					}
				}
				turn("HTTP", func() {
					if got := post(t, server, "s", "hi"); got.Code != 500 || !strings.Contains(got.Body.String(), "PROMPT_FAILED") {
						t.Errorf("status %d %s", got.Code, got.Body)
					}
				})
				turn("a socket whose client is gone", func() {
					p := d.open(t, "/ws/s")
					p.ask(`{"type":"prompt","text":"hi"}`, delta("so far"))
					_ = p.conn.CloseNow() // Without an abort.
				})
				if got := strings.Count(log.String(), "the turn took too long"); got != 2 {
					t.Errorf("log %q", log.String())
				}
			})
		})
	}
}

func TestSocketsHearOfATurnThatTookTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		responder, _, _ := blocked()
		d, stop := virtual(t, localfinn.New(localfinn.Config{Responder: responder, TurnTimeout: time.Minute}), "quick")
		defer stop()
		p := d.open(t, "/ws/s")
		defer p.conn.CloseNow()
		p.ask(`{"type":"prompt","text":"hi"}`, delta("so far"), failure("The model failed"), turnEnd, agentEnd)
		p.ask(`{"type":"prompt","text":"quick"}`, delta("quick"), turnEnd, agentEnd)
	})
}

func TestToolCallsAreBounded(t *testing.T) {
	t.Parallel()
	const most = 1000
	client, _ := connect(t, localfinn.Config{Responder: script(
		func(_ context.Context, turn localfinn.Turn, emit func(finn.Event)) error {
			for range most {
				emit(finn.Event{Kind: finn.ToolStart, Tool: "t"})
				emit(finn.Event{Kind: finn.ToolEnd, Tool: "t", Result: "r"})
			}
			switch turn.Prompt {
			case "start":
				emit(finn.Event{Kind: finn.ToolStart, Tool: "t"})
			case "end":
				emit(finn.Event{Kind: finn.ToolEnd, Tool: "t"})
			}
			emit(say("done"))
			return nil
		})})
	id := session(t, client)
	for _, whole := range []bool{true, false} {
		turn, err := prompt(t.Context(), client, whole, id, "no more")
		if err != nil || turn.Response != "done" || len(turn.ToolCalls) != most || turn.ToolCalls[most-1].Result != "r" {
			t.Errorf("whole %v: %d calls, %q, %v", whole, len(turn.ToolCalls), turn.Response, err)
		}
		for _, more := range []string{"start", "end"} {
			if _, err := prompt(t.Context(), client, whole, id, more); !errors.Is(err, finn.ErrTurnFailed) {
				t.Errorf("whole %v, one %s more: %v", whole, more, err)
			}
		}
	}
}
