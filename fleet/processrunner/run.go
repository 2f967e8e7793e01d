//go:build linux || darwin

package processrunner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dixie/fleet"
)

// Reasons of a failed attempt, besides [fleet.ReasonOutOfMemory] and, when it could not be learnt how the
// command ended because the host reaps children that are not its own, [fleet.ReasonRunner].
const (
	// ReasonNoCommand says that the agent type has no command, or that its program cannot be found or
	// executed. It is permanent.
	ReasonNoCommand = "no_command"
	// ReasonStartFailed says that the host could not start a process or make its directory.
	ReasonStartFailed = "start_failed"
	// ReasonExit says that the command ended with an exit code other than 0.
	ReasonExit = "exit"
	// ReasonSignal says that a signal ended the command.
	ReasonSignal = "signal"
	// ReasonInterrupted says that the context ended first.
	ReasonInterrupted = "interrupted"
)

const (
	signalBase = 128
	exitKilled = signalBase + int(syscall.SIGKILL) // 137, which the kernel's out-of-memory killer leaves behind.
)

// Run implements [fleet.Runner]. The task is running as soon as its process is, and its log begins after
// that. Output goes to the log until the command itself has ended; whatever is left of its group is then
// killed at once. When ctx ends first, the group gets SIGTERM and, after the grace, SIGKILL, and the
// attempt has failed with the cause of ctx, whatever the exit code.
//
// Failures are [*fleet.RunError]s with the exit code, 128 + n for signal n. Code 137 and output with the
// words "out of memory" or "OOMKilled" before any other failure are [fleet.ReasonOutOfMemory]. Only
// [ReasonNoCommand] is permanent.
func (r *Runner) Run(ctx context.Context, job fleet.Job, report fleet.Report) error {
	argv, ok := r.cfg.Commands[job.Task.AgentType]
	if !ok {
		return &fleet.RunError{Reason: ReasonNoCommand, Permanent: true}
	}
	if ctx.Err() != nil {
		return interrupted(ctx, nil)
	}
	dir, err := os.MkdirTemp(r.cfg.Root, "fleet-")
	if err != nil {
		return startFailure(err)
	}
	defer func() {
		if err := removeAll(dir); err != nil {
			report.Log("[fleet] the working directory could not be removed")
		}
	}()
	read, write, err := os.Pipe()
	if err != nil {
		return startFailure(err)
	}
	defer func() { _ = read.Close() }()

	// The context's end is for supervise to act on. What Wait waits for besides the process is that the
	// prompt is read, by somebody who has left the group and holds the pipe: that matters to nobody.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...) //nolint:gosec // The host configured the command; nothing of a task is in it.
	cmd.WaitDelay = time.Millisecond
	cmd.Dir = dir
	cmd.Env = r.environmentOf(job.Task, dir)
	cmd.Stdin = strings.NewReader(job.Prompt)
	cmd.Stdout, cmd.Stderr = write, write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = write.Close()
	if err != nil {
		return noProcess(err)
	}

	ended := make(chan ending, 1)
	go func() { ended <- r.supervise(ctx, cmd, read) }()
	report.Started("process " + strconv.Itoa(cmd.Process.Pid))
	out := newOutput(r.cfg, report)
	out.copy(read)
	end := <-ended
	switch {
	case end.interrupted:
		return interrupted(ctx, cmd.ProcessState)
	case end.err == nil || errors.Is(end.err, exec.ErrWaitDelay):
		return nil
	default:
		return failure(cmd.ProcessState, out.outOfMemory, end.err)
	}
}

// ending is how a command ended.
type ending struct {
	interrupted bool // Because the context did.
	err         error
}

// supervise ends a command's group with the command, or with the context, and reaps the command. It
// releases who reads the command's output.
//
// A group is signalled only while its leader has not been reaped, which nobody but this function does:
// until then the leader's number, which is the group's, cannot become another's.
func (r *Runner) supervise(ctx context.Context, cmd *exec.Cmd, output *os.File) ending {
	var end ending
	exited := make(chan error, 1)
	go func() { exited <- awaitExit(cmd.Process.Pid) }()
	var err error
	select {
	case err = <-exited:
	case <-ctx.Done():
		end.interrupted = true
		_ = signalGroup(cmd.Process, syscall.SIGTERM) // If it is gone, exited tells.
		grace := time.NewTimer(r.cfg.Grace)
		select {
		case err = <-exited:
			grace.Stop()
		case <-grace.C:
			_ = cmd.Process.Kill() // By itself: it may have joined another group.
			err = <-exited
		}
	}
	if !errors.Is(err, syscall.ECHILD) { // Or else the host has reaped it, and its number may be another's.
		_ = signalGroup(cmd.Process, syscall.SIGKILL)
	}
	// All that the command wrote is in the pipe now. It ends by itself only if nobody has left the
	// group with it. A pipe takes a deadline; that cannot fail.
	_ = output.SetReadDeadline(time.Now())
	end.err = cmd.Wait()
	if err != nil {
		end.err = err // A command that could not be waited for was killed for that, which is no failure of its own.
	}
	return end
}

// signalGroup signals every process of the group that a process leads.
func signalGroup(leader *os.Process, signal syscall.Signal) error {
	return syscall.Kill(-leader.Pid, signal) //nolint:wrapcheck // Nobody looks into it.
}

// environmentOf is all that a command gets.
func (r *Runner) environmentOf(t fleet.Task, dir string) []string {
	return slices.Concat([]string{"HOME=" + dir, "TMPDIR=" + dir}, r.environment, []string{
		"PWD=" + dir,
		"FLEET_TASK_ID=" + t.ID,
		"FLEET_TASK_TYPE=" + t.TaskType,
		"FLEET_ATTEMPT=" + strconv.Itoa(t.Attempt),
		"FLEET_REPOSITORY=" + t.Repository,
		"FLEET_BASE_BRANCH=" + t.BaseBranch,
		"FLEET_BRANCH=" + t.Branch,
		"FLEET_MODEL=" + t.Model,
	})
}

// startFailure describes why there is no process, which may pass: the host is short of something.
func startFailure(err error) *fleet.RunError {
	return &fleet.RunError{Reason: ReasonStartFailed, Err: fmt.Errorf("processrunner: starting: %w", err)}
}

// noProcess describes why a command did not start. That its program is missing or must not be executed
// stays so until somebody changes the host.
func noProcess(err error) error {
	failed := startFailure(err)
	for _, permanent := range []error{exec.ErrNotFound, exec.ErrDot, fs.ErrNotExist, fs.ErrPermission, syscall.ENOEXEC} {
		if errors.Is(err, permanent) {
			failed.Reason, failed.Permanent = ReasonNoCommand, true
		}
	}
	return failed
}

// interrupted describes the end of an attempt whose context has ended. There may have been no process.
func interrupted(ctx context.Context, state *os.ProcessState) error {
	return &fleet.RunError{
		Reason: ReasonInterrupted, ExitCode: exitCode(state),
		Err: fmt.Errorf("processrunner: interrupted: %w", context.Cause(ctx)),
	}
}

// failure describes how a command failed by itself.
func failure(state *os.ProcessState, outOfMemory bool, err error) error {
	failed := &fleet.RunError{Reason: ReasonExit, ExitCode: exitCode(state), Err: fmt.Errorf("processrunner: %w", err)}
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case !ok:
		failed.Reason = fleet.ReasonRunner
	case *failed.ExitCode == exitKilled || outOfMemory:
		failed.Reason = fleet.ReasonOutOfMemory
	case !exit.Exited():
		failed.Reason = ReasonSignal
	}
	return failed
}

// exitCode is that of a shell: 128 + n for signal n.
func exitCode(state *os.ProcessState) *int {
	if state == nil {
		return nil
	}
	code := state.ExitCode()
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = signalBase + int(status.Signal())
	}
	return &code
}

// removeAll removes a working directory, and in a second try also what is read-only in it: a Go module
// cache, for one, consists of such directories.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	const all = 0o700
	_ = os.Chmod(dir, all) // What cannot be entered cannot be emptied.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("processrunner: %w", err)
	}
	defer func() { _ = root.Close() }()
	// The root keeps symbolic links from leading us out of it.
	_ = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			_ = root.Chmod(path, all)
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("processrunner: %w", err)
	}
	return nil
}
