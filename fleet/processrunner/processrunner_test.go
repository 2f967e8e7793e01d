//go:build linux || darwin

package processrunner_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
	"dixie/fleet/processrunner"
)

func TestRunWritesTheLog(t *testing.T) {
	t.Parallel()
	d := newDiary()
	err := shell(t, `cat; echo; echo "working on $FLEET_REPOSITORY"; echo oops >&2; printf last`).Run(t.Context(), job(), d)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	want := []string{d.started, "Fix", "the door", "working on acme/house; rm -rf /", "oops", "last"}
	if diff := cmp.Diff(want, d.lines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if !regexp.MustCompile(`^process \d+$`).MatchString(d.started) {
		t.Errorf("started as %q", d.started)
	}
}

func TestArgumentsAreNoShellsBusiness(t *testing.T) {
	t.Parallel()
	d := newDiary()
	runner := shell(t, "", command("printf", "%s\n", "$HOME; *", "`id`"))
	if err := runner.Run(t.Context(), job(), d); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if diff := cmp.Diff([]string{"$HOME; *", "`id`"}, d.lines[1:]); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestEnvironmentIsMinimal(t *testing.T) {
	t.Setenv("DIXIE_TEST_SECRET", "secret")
	t.Setenv("DIXIE_TEST_PASSED", "passed")
	d := newDiary()
	runner := shell(t, "env", func(c *processrunner.Config) { c.PassEnv = []string{"DIXIE_TEST_PASSED", "DIXIE_TEST_UNSET"} })
	if err := runner.Run(t.Context(), job(), d); err != nil {
		t.Fatalf("Run: %v", err)
	}
	got := map[string]string{}
	for _, line := range d.lines[1:] {
		name, value, _ := strings.Cut(line, "=")
		got[name] = value
	}
	for _, name := range []string{"_", "SHLVL", "OLDPWD"} { // Some shells add variables of their own.
		delete(got, name)
	}
	dir := got["HOME"]
	if !filepath.IsAbs(dir) {
		t.Errorf("HOME is %q", dir)
	}
	want := map[string]string{
		"DIXIE_TEST_PASSED": "passed", "HOME": dir, "TMPDIR": dir, "PWD": dir, "PATH": os.Getenv("PATH"),
		"FLEET_TASK_ID": "id-1", "FLEET_TASK_TYPE": "bug_fix", "FLEET_ATTEMPT": "2", "FLEET_REPOSITORY": "acme/house; rm -rf /",
		"FLEET_BASE_BRANCH": "main", "FLEET_BRANCH": "fleet/x", "FLEET_MODEL": "claude-opus-4-6",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestHomeCanBeTheHosts(t *testing.T) {
	t.Setenv("HOME", "/home/of/the/host")
	d := newDiary()
	runner := shell(t, `echo "$HOME"`, func(c *processrunner.Config) { c.PassEnv = []string{"HOME"} })
	if err := runner.Run(t.Context(), job(), d); err != nil || d.lines[1] != "/home/of/the/host" {
		t.Errorf("Run: %v, log %q", err, d.lines)
	}
}

func TestWorkingDirectory(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"is removed":                          `mkdir -p a/b; echo x > a/b/c; pwd -P`,
		"is removed with what is read-only":   `mkdir -p a/b; echo x > a/b/c; chmod 500 a/b a; pwd -P`,
		"is removed when it is closed itself": `mkdir a; pwd -P; chmod 000 a .`,
		"is removed, but not where links go":  `ln -s "$FLEET_REPOSITORY" a; mkdir b; chmod 500 b .; pwd -P`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatalf("EvalSymlinks: %v", err)
			}
			outside := filepath.Join(t.TempDir(), "outside")
			if err := os.Mkdir(outside, 0o500); err != nil {
				t.Fatalf("Mkdir: %v", err)
			}
			d, j := newDiary(), job()
			j.Task.Repository = outside
			runner := shell(t, script, func(c *processrunner.Config) { c.Root = root })
			if err := runner.Run(t.Context(), j, d); err != nil {
				t.Fatalf("Run: %v", err)
			}
			if len(d.lines) != 2 || filepath.Dir(d.lines[1]) != root {
				t.Errorf("log %q, want a directory in %q", d.lines, root)
			}
			if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o500 {
				t.Errorf("the directory outside is %v, %v", info, err)
			}
		})
	}
}

func TestRelativeRoot(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("work", 0o700); err != nil {
		t.Fatalf("Mkdir: %v", err)
	}
	d := newDiary()
	runner := shell(t, `cd /; cd "$HOME" && pwd -P`, func(c *processrunner.Config) { c.Root = "work" })
	if err := runner.Run(t.Context(), job(), d); err != nil || filepath.Base(filepath.Dir(d.lines[1])) != "work" {
		t.Errorf("Run: %v, log %q", err, d.lines)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script, reason string
		code           int
	}{
		"exit":                   {"exit 3", processrunner.ReasonExit, 3},
		"exit without output":    {"exec >&- 2>&-; exit 4", processrunner.ReasonExit, 4},
		"signal":                 {"kill -TERM $$", processrunner.ReasonSignal, 143},
		"killed":                 {"kill -KILL $$", fleet.ReasonOutOfMemory, 137},
		"exit of a container":    {"exit 137", fleet.ReasonOutOfMemory, 137},
		"words of out of memory": {"echo JavaScript heap Out Of Memory; exit 1", fleet.ReasonOutOfMemory, 1},
		"words after the limit":  {"head -c 5000 /dev/zero; echo; echo OOMKilled; exit 1", fleet.ReasonOutOfMemory, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runner := shell(t, c.script, func(c *processrunner.Config) { c.MaxOutput = 1000 })
			wantFailure(t, runner.Run(t.Context(), job(), newDiary()), fleet.RunError{Reason: c.reason, ExitCode: &c.code})
		})
	}
}

func TestWordsAloneAreNoFailure(t *testing.T) {
	t.Parallel()
	if err := shell(t, "echo fixed: out of memory").Run(t.Context(), job(), newDiary()); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestStartFailures(t *testing.T) {
	t.Parallel()
	plain, garbage := filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "garbage")
	for path, mode := range map[string]os.FileMode{plain: 0o600, garbage: 0o700} {
		// A process that another test starts meanwhile would have the file open for writing until it becomes its
		// program, and the system executes no such file.
		syscall.ForkLock.RLock()
		err := os.WriteFile(path, []byte("not a program"), mode)
		syscall.ForkLock.RUnlock()
		if err != nil {
			t.Fatalf("WriteFile: %v", err)
		}
	}
	noCommand := fleet.RunError{Reason: processrunner.ReasonNoCommand, Permanent: true}
	for name, c := range map[string]struct {
		change func(*processrunner.Config)
		want   fleet.RunError
	}{
		"no such file":    {command("/does/not/exist"), noCommand},
		"no such name":    {command("dixie-has-no-such-program"), noCommand},
		"not executable":  {command(plain), noCommand},
		"not a program":   {command(garbage), noCommand},
		"another's agent": {func(c *processrunner.Config) { c.Commands = map[string][]string{fleet.Codex: {"true"}} }, noCommand},
		"no directory": {
			func(c *processrunner.Config) { c.Root = filepath.Join(c.Root, "missing") },
			fleet.RunError{Reason: processrunner.ReasonStartFailed},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, root := newDiary(), t.TempDir()
			runner := shell(t, "", func(c *processrunner.Config) { c.Root = root }, c.change)
			err := runner.Run(t.Context(), job(), d)
			if name == "no directory" && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("Run: %v, want the cause", err)
			}
			wantFailure(t, err, c.want)
			if len(d.lines) != 0 {
				t.Errorf("report %q, want nothing", d.lines)
			}
			if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestEndedContextStartsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), -time.Second, fleet.ErrTimeout)
	defer cancel()
	d := newDiary()
	err := shell(t, "echo hello").Run(ctx, job(), d)
	wantFailure(t, err, fleet.RunError{Reason: processrunner.ReasonInterrupted})
	if !errors.Is(err, fleet.ErrTimeout) || len(d.lines) != 0 {
		t.Errorf("Run: %v, report %q, want the cause and nothing", err, d.lines)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := map[string][]string{fleet.Codex: {"codex"}}
	for name, cfg := range map[string]processrunner.Config{
		"no commands":       {},
		"no arguments":      {Commands: map[string][]string{fleet.Codex: {}}},
		"an empty name":     {Commands: map[string][]string{fleet.Codex: {"", "x"}}},
		"a relative path":   {Commands: map[string][]string{fleet.Codex: {"./codex"}}},
		"a pattern without": {Commands: good, PullRequest: regexp.MustCompile("x")},
		"negative grace":    {Commands: good, Grace: -1},
		"negative output":   {Commands: good, MaxOutput: -1},
		"an assignment":     {Commands: good, PassEnv: []string{"A=b"}},
		"an empty variable": {Commands: good, PassEnv: []string{""}},
	} {
		if _, err := processrunner.New(cfg); err == nil {
			t.Errorf("New with %s must fail", name)
		}
	}
	_, err := processrunner.New(processrunner.Config{Grace: -1, MaxOutput: -1})
	for _, want := range []string{"no command", "Grace", "MaxOutput"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want all problems, also with %q", err, want)
		}
	}
}

func TestConfigBelongsToTheRunner(t *testing.T) {
	t.Parallel()
	argv := []string{"echo", "before"}
	cfg := processrunner.Config{Commands: map[string][]string{fleet.ClaudeCode: argv}, Root: t.TempDir()}
	runner, err := processrunner.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	argv[1] = "after"
	delete(cfg.Commands, fleet.ClaudeCode)
	d := newDiary()
	if err := runner.Run(t.Context(), job(), d); err != nil || !slices.Contains(d.lines, "before") {
		t.Errorf("Run: %v, log %q", err, d.lines)
	}
}
