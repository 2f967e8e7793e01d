//go:build linux || darwin

package processrunner_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"dixie/fleet"
	"dixie/fleet/processrunner"
)

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "misbehave" {
		misbehave(os.Args[2], os.Args[3:])
		return
	}
	goleak.VerifyTestMain(m)
}

// misbehaving is a command that does what a shell cannot: see misbehave.
func misbehaving(how string, argv ...string) func(*processrunner.Config) {
	return command(append([]string{os.Args[0], "misbehave", how}, argv...)...)
}

// misbehave runs in a process of its own. It ends by becoming another program, so that no test or
// coverage machinery has a last word.
func misbehave(how string, argv []string) {
	var err error
	switch how {
	case "desert": // Start the command in nobody's group, with our input and output; then count so far and write its number.
		cmd := exec.Command(argv[1], argv[2:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err = cmd.Start(); err == nil {
			const script = `i=0; while [ $i -lt $1 ]; do echo $i; i=$((i + 1)); done; echo process $0`
			err = syscall.Exec("/bin/sh", []string{"sh", "-c", script, strconv.Itoa(cmd.Process.Pid), argv[0]}, os.Environ())
		}
	case "defect": // Become the command, in the group of our parent.
		var group int
		if group, err = syscall.Getpgid(os.Getppid()); err == nil {
			err = syscall.Setpgid(0, group)
		}
		if err == nil {
			err = syscall.Exec("/bin/sh", append([]string{"sh", "-c", `echo process $$; exec "$0" "$@"`}, argv...), os.Environ())
		}
	}
	_, _ = fmt.Fprintln(os.Stderr, how, err)
}

// diary is a report that writes everything down and tells of each line. Its lines begin with the
// reference, if that comes first.
type diary struct {
	mu      sync.Mutex
	started string
	lines   []string
	number  int
	line    chan string
}

func newDiary() *diary { return &diary{line: make(chan string, 10_000)} }

func (d *diary) Started(reference string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started = reference
	d.lines = append(d.lines, reference)
}

func (d *diary) Log(text string) {
	d.mu.Lock()
	d.lines = append(d.lines, text)
	d.mu.Unlock()
	d.line <- text
}

func (d *diary) PullRequest(number int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.number = number
}

func (d *diary) next(t *testing.T) string {
	t.Helper()
	return await(t, d.line, "a line of output")
}

func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case got := <-c:
		return got
	case <-limit.C:
		t.Fatalf("waiting for %s took too long", what)
		panic("not reached") //nolint:forbidigo // Fatalf does not return.
	}
}

// eventually waits for a state of which nobody tells.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s took too long", what)
		}
		await(t, tick.C, what)
	}
}

// shell is a runner whose only command is a script.
func shell(t *testing.T, script string, change ...func(*processrunner.Config)) *processrunner.Runner {
	t.Helper()
	cfg := processrunner.Config{
		Commands: map[string][]string{fleet.ClaudeCode: {"sh", "-c", script}},
		Root:     t.TempDir(), Grace: patience,
	}
	for _, c := range change {
		c(&cfg)
	}
	r, err := processrunner.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return r
}

func command(argv ...string) func(*processrunner.Config) {
	return func(c *processrunner.Config) { c.Commands = map[string][]string{fleet.ClaudeCode: argv} }
}

func job() fleet.Job {
	return fleet.Job{Prompt: "Fix\nthe door", Task: fleet.Task{
		ID: "id-1", AgentType: fleet.ClaudeCode, TaskType: "bug_fix", Attempt: 2, Repository: "acme/house; rm -rf /",
		BaseBranch: "main", Branch: "fleet/x", Model: "claude-opus-4-6",
	}}
}

// processNumber reads what a command or a reference tells. It refuses what kill takes for many processes.
func processNumber(t *testing.T, text string) int {
	t.Helper()
	number, ok := strings.CutPrefix(text, "process ")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n <= 1 {
		t.Fatalf("not a process number: %q", text)
	}
	return n
}

// isAlive is false for a process that only waits to be reaped, which not every container's first process
// does.
func isAlive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || !strings.HasPrefix(state, "Z")
}

func gone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the end of process %d", pid), func() bool { return !isAlive(pid) })
}

func wantFailure(t *testing.T, err error, want fleet.RunError) {
	t.Helper()
	var failed *fleet.RunError
	if !errors.As(err, &failed) {
		t.Errorf("Run: %v, want a failure", err)
		return
	}
	if diff := cmp.Diff(want, *failed, cmpopts.IgnoreFields(fleet.RunError{}, "Err")); diff != "" {
		t.Errorf("Run: %v (-want +got):\n%s", err, diff)
	}
}
