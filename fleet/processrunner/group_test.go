//go:build linux || darwin

package processrunner_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
	"dixie/fleet/processrunner"
)

func TestInterruptionEndsTheWholeGroup(t *testing.T) {
	t.Parallel()
	causes := []error{fleet.ErrStopped, fleet.ErrTimeout, fleet.ErrShutdown}
	for name, c := range map[string]struct {
		script string
		grace  time.Duration
		code   int // Of the command itself.
	}{
		"polite":             {`sleep 600 & echo process $!; wait`, patience, 143},
		"polite and content": {`trap "exit 0" TERM; sleep 600 & echo process $!; wait`, patience, 0},
		"deaf":               {`trap "" TERM; sleep 600 & echo process $!; while :; do wait; sleep 1; done`, time.Millisecond, 137},
		"deaf grandchild":    {`sh -c 'trap "" TERM; sleep 600 & echo process $!; while :; do wait; sleep 1; done' & wait`, patience, 143},
		"stopped":            {`trap "" TERM; echo process $$; kill -STOP $$`, time.Millisecond, 137},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, cause := range causes {
				ctx, cancel := context.WithCancelCause(t.Context())
				d, done := newDiary(), make(chan error, 1)
				runner := shell(t, c.script, func(cfg *processrunner.Config) { cfg.Grace = c.grace })
				go func() { done <- runner.Run(ctx, job(), d) }()
				member := processNumber(t, d.next(t))
				cancel(cause)
				err := await(t, done, "the end of Run")
				wantFailure(t, err, fleet.RunError{Reason: processrunner.ReasonInterrupted, ExitCode: &c.code})
				if !errors.Is(err, cause) {
					t.Errorf("Run: %v, want the cause %v", err, cause)
				}
				gone(t, member)
				gone(t, processNumber(t, d.started))
			}
		})
	}
}

func TestInterruptionAsksFirst(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	d, done := newDiary(), make(chan error, 1)
	runner := shell(t, `trap "echo bye; exit 5" TERM; echo ready; while :; do sleep 0.01; done`)
	go func() { done <- runner.Run(ctx, job(), d) }()
	d.next(t)
	cancel(fleet.ErrShutdown)
	code := 5
	wantFailure(t, await(t, done, "the end of Run"), fleet.RunError{Reason: processrunner.ReasonInterrupted, ExitCode: &code})
	if !slices.Contains(d.lines, "bye") { // Some shells tell first that their sleep was terminated.
		t.Errorf("log %q, want the last words", d.lines)
	}
}

// The command's end is not known by its output's.
func TestInterruptionOfTheSilent(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	d, done := newDiary(), make(chan error, 1)
	runner := shell(t, `echo ready; exec >&- 2>&-; exec sleep 600`)
	go func() { done <- runner.Run(ctx, job(), d) }()
	d.next(t)
	cancel(fleet.ErrStopped)
	if err := await(t, done, "the end of Run"); !errors.Is(err, fleet.ErrStopped) {
		t.Errorf("Run: %v", err)
	}
	gone(t, processNumber(t, d.started))
}

// Being stopped is not the end.
func TestCommandMayBeStoppedAndContinued(t *testing.T) {
	t.Parallel()
	d, done := newDiary(), make(chan error, 1)
	runner := shell(t, `echo process $$; kill -STOP $$; exit 3`)
	go func() { done <- runner.Run(t.Context(), job(), d) }()
	leader := processNumber(t, d.next(t))
	var err error
	eventually(t, "the end of Run", func() bool {
		select {
		case err = <-done:
			return true
		default: // It may not have stopped yet.
			_ = syscall.Kill(leader, syscall.SIGCONT)
			return false
		}
	})
	code := 3
	wantFailure(t, err, fleet.RunError{Reason: processrunner.ReasonExit, ExitCode: &code})
}

// A report that waits for its store holds up the log, but not the end of the processes.
func TestInterruptionDoesNotWaitForTheReport(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	report := &slowReport{diary: newDiary(), reached: make(chan string), release: make(chan struct{})}
	done := make(chan error, 1)
	runner := shell(t, `echo done what could be done; sleep 600`)
	go func() { done <- runner.Run(ctx, job(), report) }()
	leader := processNumber(t, await(t, report.reached, "the start"))
	cancel(fleet.ErrStopped)
	gone(t, leader)
	close(report.release)
	if err := await(t, done, "the end of Run"); !errors.Is(err, fleet.ErrStopped) {
		t.Errorf("Run: %v", err)
	}
}

// slowReport is a diary that waits to be released before it notes the start.
type slowReport struct {
	*diary

	reached chan string
	release chan struct{}
}

func (r *slowReport) Started(reference string) {
	r.reached <- reference
	<-r.release
	r.diary.Started(reference)
}

func TestLeftoversAreKilled(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"with the output": `sleep 600 & echo process $!`,
		"deaf":            `trap "" TERM; sleep 600 & echo process $!`,
		"without":         `sleep 600 >/dev/null 2>&1 </dev/null & echo process $!`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDiary()
			if err := shell(t, script).Run(t.Context(), job(), d); err != nil {
				t.Fatalf("Run: %v", err)
			}
			gone(t, processNumber(t, d.next(t)))
		})
	}
}

// numbers is what a command writes whose child deserts.
func numbers() []string {
	lines := make([]string, 100)
	for i := range lines {
		lines[i] = strconv.Itoa(i)
	}
	return lines
}

func TestNobodyWaitsForADeserter(t *testing.T) {
	t.Parallel()
	for name, prompt := range map[string]string{"output": "", "input and output": strings.Repeat("x", 4<<20)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, j := newDiary(), job()
			j.Prompt = prompt
			if err := shell(t, "", misbehaving("desert", "100", "sleep", "600")).Run(t.Context(), j, d); err != nil {
				t.Fatalf("Run: %v", err)
			}
			if diff := cmp.Diff(append([]string{d.started}, numbers()...), d.lines[:len(d.lines)-1]); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
			deserter := processNumber(t, d.lines[len(d.lines)-1])
			if !isAlive(deserter) {
				t.Error("the deserter has ended; this shows nothing")
			}
			if err := syscall.Kill(deserter, syscall.SIGKILL); err != nil {
				t.Errorf("killing the deserter: %v", err)
			}
		})
	}
}

func TestNobodyWaitsForATalkativeDeserter(t *testing.T) {
	t.Parallel()
	d := newDiary()
	runner := shell(t, "", misbehaving("desert", "0", "yes", "and another thing"), func(c *processrunner.Config) { c.MaxOutput = 10_000 })
	if err := runner.Run(t.Context(), job(), d); err != nil {
		t.Errorf("Run: %v", err)
	} // The deserter ends by itself, since nobody has the other end of its pipe.
}

// Reading late loses nothing, no matter how late: the log is written only when the command has been
// reaped, and its output does not end because a deserter has it.
func TestOutputOutlivesTheCommand(t *testing.T) {
	t.Parallel()
	report := &slowReport{diary: newDiary(), reached: make(chan string), release: make(chan struct{})}
	done := make(chan error, 1)
	runner := shell(t, "", misbehaving("desert", "100", "sleep", "600"), func(c *processrunner.Config) { c.Grace = 1 })
	go func() { done <- runner.Run(t.Context(), job(), report) }()
	leader := processNumber(t, await(t, report.reached, "the start"))
	eventually(t, "the command to be reaped", func() bool { return errors.Is(syscall.Kill(leader, 0), syscall.ESRCH) })
	close(report.release)
	if err := await(t, done, "the end of Run"); err != nil {
		t.Errorf("Run: %v", err)
	}
	last := len(report.lines) - 1
	if diff := cmp.Diff(numbers(), report.lines[1:last]); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if err := syscall.Kill(processNumber(t, report.lines[last]), syscall.SIGKILL); err != nil {
		t.Errorf("killing the deserter: %v", err)
	}
}

// A command may leave the group that it leads. It is killed all the same.
func TestDefectorIsKilled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	d, done := newDiary(), make(chan error, 1)
	runner := shell(t, "", misbehaving("defect", "sleep", "600"), func(c *processrunner.Config) { c.Grace = time.Millisecond })
	go func() { done <- runner.Run(ctx, job(), d) }()
	defector := processNumber(t, d.next(t))
	cancel(fleet.ErrStopped)
	if err := await(t, done, "the end of Run"); !errors.Is(err, fleet.ErrStopped) {
		t.Errorf("Run: %v", err)
	}
	gone(t, defector)
}
