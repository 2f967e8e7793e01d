//go:build linux || darwin

package processrunner

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"dixie/fleet"
)

// The safety of signalling a group rests on this: that the leader's end is known while its number is
// still taken.
func TestAwaitExitDoesNotReap(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "exit 3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("Start: %v", err)
	}
	for range 2 { // Also when it has long ended.
		if err := awaitExit(cmd.Process.Pid); err != nil {
			t.Errorf("awaitExit: %v", err)
		}
	}
	if err := syscall.Kill(cmd.Process.Pid, 0); err != nil {
		t.Errorf("the number is free: %v", err)
	}
	_ = cmd.Wait() // The code tells.
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("Wait gave code %d, want 3", code)
	}
	if err := awaitExit(cmd.Process.Pid); err == nil {
		t.Error("awaitExit of what has been reaped must fail")
	}
}

// A host may reap children that are not its own. Their group is then left alone, and how they ended is
// not known.
func TestReapedByTheHost(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "exit 3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("Start: %v", err)
	}
	if _, err := syscall.Wait4(cmd.Process.Pid, nil, 0, nil); err != nil {
		t.Fatalf("Wait4: %v", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatalf("Pipe: %v", err)
	}
	defer read.Close()
	defer write.Close()
	end := (&Runner{}).supervise(t.Context(), cmd, read)
	got := failure(cmd.ProcessState, false, end.err)
	var failed *fleet.RunError
	if end.interrupted || !errors.As(got, &failed) || failed.Reason != fleet.ReasonRunner || failed.ExitCode != nil || failed.Permanent {
		t.Errorf("supervise gave %+v and that %v, want %s", end, got, fleet.ReasonRunner)
	}
}
