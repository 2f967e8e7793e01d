package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestNothingIsLeft is T3.0: a suite that has ended, and one that was interrupted, leaves neither a process
// nor a folder.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	if os.Getenv("DIXIE_E2E_URL") != "" {
		t.Skip("the stack is not ours to take away: it was there before")
	}
	service(t) // Skips where there is no stack.
	for name, interrupt := range map[string]bool{"ended": false, "interrupted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// In the process list this path marks what the suite has started: its folders are below it.
			folder := t.TempDir()
			// PostgreSQL may run as another user, who must get there.
			for _, open := range []string{folder, filepath.Dir(folder)} {
				if err := os.Chmod(open, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			suite := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^(TestHealth|TestChat)$", "-test.v")
			suite.Env = append(os.Environ(), "TMPDIR="+folder, "DIXIE_TEST_REQUIRE=postgres,redis", binariesVariable+"="+programs(t))
			output := &watched{text: "=== RUN   TestChat", seen: make(chan struct{})}
			suite.Stdout, suite.Stderr = output, output
			if err := suite.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- suite.Wait() }()
			select {
			case <-output.seen:
			case err := <-ended:
				t.Fatalf("the suite has run no chat: %v\n%s", err, output)
			}
			if runtime.GOOS == "linux" && len(processesOf(t, folder)) < 4 {
				t.Errorf("PostgreSQL, Redis, Finn and dixie are not seen: %q", processesOf(t, folder))
			}
			if interrupt {
				if err := suite.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-ended; (err != nil) != interrupt {
				t.Errorf("the suite's result: %v\n%s", err, output)
			}
			if left := processesOf(t, folder); len(left) > 0 {
				t.Errorf("processes are left: %q", left)
			}
			entries, err := os.ReadDir(folder)
			if err != nil || len(entries) > 0 {
				t.Errorf("folders are left: %v %v", entries, err)
			}
		})
	}
}

// processesOf lists the processes that work in the folder, or were started in it. Linux only.
func processesOf(t *testing.T, folder string) []string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var processes []string
	for _, process := range found {
		work, _ := os.Readlink(process + "/cwd") // Processes end while we look.
		command, _ := os.ReadFile(process + "/cmdline")
		if strings.HasPrefix(work, folder) || strings.Contains(string(command), folder) {
			processes = append(processes, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	slices.Sort(processes)
	return processes
}

// watched is an output that tells when a text is in it.
type watched struct {
	text string
	seen chan struct{}

	mu     sync.Mutex
	output bytes.Buffer // GUARDED_BY(mu)
	found  bool         // GUARDED_BY(mu)
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.output.Write(p)
	if !w.found && bytes.Contains(w.output.Bytes(), []byte(w.text)) {
		w.found = true
		close(w.seen)
	}
	return n, err
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.output.String()
}
