//go:build linux || darwin

package processrunner_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
	"dixie/fleet/processrunner"
)

const notice = "[fleet] further output is not kept"

// largePrompt is more than any pipe holds.
func largePrompt() fleet.Job {
	j := job()
	j.Prompt = strings.Repeat("prompt\n", 1<<20)
	return j
}

func TestLargePrompt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		want   []string
	}{
		"is read":               {`wc -l | tr -d " "`, []string{"1048576"}},
		"is not read":           {`echo done`, []string{"done"}},
		"is not read to an end": {`head -n 1; echo done`, []string{"prompt", "done"}},
		"is refused":            {`exec <&-; echo done`, []string{"done"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDiary()
			if err := shell(t, c.script).Run(t.Context(), largePrompt(), d); err != nil {
				t.Errorf("Run: %v", err)
			}
			if diff := cmp.Diff(c.want, d.lines[1:]); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFailureWithALargePromptIsTheCommands(t *testing.T) {
	t.Parallel()
	code := 3
	err := shell(t, `exit 3`).Run(t.Context(), largePrompt(), newDiary())
	wantFailure(t, err, fleet.RunError{Reason: processrunner.ReasonExit, ExitCode: &code})
}

func TestInterruptionWhileThePromptIsNotRead(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	d, done := newDiary(), make(chan error, 1)
	runner := shell(t, `echo ready; sleep 600`)
	go func() { done <- runner.Run(ctx, largePrompt(), d) }()
	d.next(t)
	cancel(fleet.ErrStopped)
	if err := await(t, done, "the end of Run"); !errors.Is(err, fleet.ErrStopped) {
		t.Errorf("Run: %v", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	d := newDiary()
	runner := shell(t, `head -c 3000000 /dev/zero | tr '\0' x; echo; echo end >&2`, func(c *processrunner.Config) {
		c.MaxOutput = 3*(fleet.MaxLogLine+1) + 10
	})
	if err := runner.Run(t.Context(), job(), d); err != nil {
		t.Fatalf("Run: %v", err)
	}
	var lengths []int
	for _, line := range d.lines[1:] {
		lengths = append(lengths, len(line))
	}
	want := []int{fleet.MaxLogLine, fleet.MaxLogLine, fleet.MaxLogLine, 10, len(notice)}
	if diff := cmp.Diff(want, lengths); diff != "" {
		t.Errorf("lengths of lines (-want +got):\n%s", diff)
	}
}

func TestMaxOutput(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		want   []string
	}{
		"all fits":             {`printf '123\n\n5678\n'`, []string{"123", "", "5678"}},
		"a line break more":    {`printf '123\n\n5678\n\n'`, []string{"123", "", "5678", notice}},
		"a line more":          {`printf '123\n\n5678\n9\nmore\n'`, []string{"123", "", "5678", notice}},
		"within a line":        {`printf '123\n456789abc\nmore\n'`, []string{"123", "456789", notice}},
		"nothing but newlines": {`yes '' | head -n 1000`, append(make([]string, 10), notice)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDiary()
			runner := shell(t, c.script, func(c *processrunner.Config) { c.MaxOutput = 10 })
			if err := runner.Run(t.Context(), job(), d); err != nil {
				t.Fatalf("Run: %v", err)
			}
			if diff := cmp.Diff(c.want, d.lines[1:]); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFloodCanBeInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	d, done := newDiary(), make(chan error, 1)
	runner := shell(t, `yes`, func(c *processrunner.Config) { c.MaxOutput = 1000 })
	go func() { done <- runner.Run(ctx, job(), d) }()
	for line := ""; line != notice; {
		line = d.next(t)
	}
	cancel(fleet.ErrStopped)
	if err := await(t, done, "the end of Run"); !errors.Is(err, fleet.ErrStopped) {
		t.Errorf("Run: %v", err)
	}
	if want := 1 + 500 + 1; len(d.lines) != want {
		t.Errorf("%d lines, want %d", len(d.lines), want)
	}
}

func TestPullRequest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		want   int
	}{
		"the first counts":    {`echo at /pull/42; echo at /pull/43`, 42},
		"not a number of one": {`echo at /pull/; echo at /pull/0; echo at /pull/99999999999999999999; echo at /pull/7`, 7},
		"after the limit":     {`head -c 5000 /dev/zero; echo; echo at /pull/42`, 42},
		"none":                {`echo nothing to do`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDiary()
			runner := shell(t, c.script, func(c *processrunner.Config) {
				c.MaxOutput = 1000
				c.PullRequest = regexp.MustCompile(`^at /pull/(\d+)?$`)
			})
			if err := runner.Run(t.Context(), job(), d); err != nil || d.number != c.want {
				t.Errorf("Run: %v, pull request %d, want %d", err, d.number, c.want)
			}
		})
	}
}
