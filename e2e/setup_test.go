package e2e_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dixie/internal/testserver"
)

// TestNothingIsLeft is T3.0: a suite that has ended, and one that was interrupted or has taken too long, leaves
// neither a process nor a folder.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	ownStack(t)
	for name, tc := range map[string]struct {
		tests     []string
		until     func(output string, processes []string) bool
		interrupt bool
		wantError bool
	}{
		"ended": {tests: []string{"-test.run=^(TestHealth|TestChat)$"}, until: chatBegins},
		"interrupted": {
			// Again and again: it must not have ended before it is interrupted.
			tests: []string{"-test.run=^(TestHealth|TestChat)$", "-test.count=1000"}, until: chatBegins, interrupt: true, wantError: true,
		},
		"interrupted while the stack starts": {
			tests: []string{"-test.run=^TestHealth$"}, until: printed("=== RUN   TestHealth"), interrupt: true, wantError: true,
		},
		"interrupted with a second stack": {tests: []string{"-test.run=^TestTrace$"}, until: twoStacks, interrupt: true, wantError: true},
		"timed out": {
			tests: []string{"-test.run=^TestChat$", "-test.count=1000", "-test.timeout=60s"}, until: printed("=== RUN   TestChat"), wantError: true,
		},
	} {
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
			inner := startSuite(t, tc.tests, "TMPDIR="+folder, "DIXIE_TEST_REQUIRE=postgres,redis")
			inner.await(t, func() bool { return tc.until(inner.output.String(), processesOf(t, folder)) })
			if tc.interrupt {
				inner.interrupt(t)
			}
			if err := inner.wait(); (err != nil) != tc.wantError {
				t.Errorf("the suite's result: %v\n%s", err, inner.output.String())
			}
			if strings.Contains(inner.output.String(), "panic: ") {
				t.Errorf("the suite was ended from outside\n%s", inner.output.String())
			}
			if left := processesOf(t, folder); len(left) > 0 {
				t.Errorf("processes are left: %q", left)
			}
			entries, err := os.ReadDir(folder)
			if err != nil || len(entries) > 0 {
				t.Errorf("folders are left: %v %v\n%s", entries, err, inner.output.String())
			}
		})
	}
}

// TestNothingStaysInTheService: an interrupted suite takes out of a service that is not its own what it has put in.
func TestNothingStaysInTheService(t *testing.T) {
	t.Parallel()
	ownStack(t)
	s := service(t)
	for name, tc := range map[string]struct {
		test, hold string
		made       int32
	}{
		"a published key":     {test: "TestSignIn", hold: "POST /api/auth/siwe", made: 1},
		"a wallet and a task": {test: "TestFleet", hold: "GET /api/fleet/tasks/", made: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			front := holdUp(t, s.URL(), tc.hold)
			inner := startSuite(t, []string{"-test.run=^" + tc.test + "$"},
				"DIXIE_E2E_URL="+front.url, "DIXIE_E2E_ORIGIN="+s.URL(), "DIXIE_E2E_ADMIN_KEY="+adminKey)
			inner.await(t, func() bool { return front.held.Load() })
			if made, taken := front.made.Load(), front.taken.Load(); made != tc.made || taken != 0 {
				t.Fatalf("before: %d made, %d taken out", made, taken)
			}
			inner.interrupt(t)
			if err := inner.wait(); err == nil {
				t.Error("the suite's result is success")
			}
			if taken := front.taken.Load(); taken != tc.made {
				t.Errorf("%d of %d were taken out\n%s", taken, tc.made, inner.output.String())
			}
		})
	}
}

// front passes on what it is asked, except one request, which it keeps waiting. It counts what is made in the
// service and what is taken out.
type front struct {
	url         string
	held        atomic.Bool
	made, taken atomic.Int32
}

func holdUp(t *testing.T, service, hold string) *front {
	t.Helper()
	target, err := url.Parse(service)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	proxy.ModifyResponse = func(response *http.Response) error {
		switch asked := response.Request.Method; {
		case asked == http.MethodPost && response.StatusCode == http.StatusCreated:
			f.made.Add(1)
		case asked == http.MethodDelete && response.StatusCode == http.StatusOK:
			f.taken.Add(1)
		}
		return nil
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Method+" "+r.URL.Path, hold) && f.held.CompareAndSwap(false, true) {
			_, _ = io.Copy(io.Discard, r.Body) // Only then is it noticed when the client goes away.
			<-r.Context().Done()
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// ownStack skips the test unless there is a stack of our own: what was there before is not ours to take away.
func ownStack(t *testing.T) {
	t.Helper()
	if os.Getenv("DIXIE_E2E_URL") != "" {
		t.Skip("the stack is not ours to take away: it was there before")
	}
	service(t) // Skips where there is no stack.
}

func printed(text string) func(string, []string) bool {
	return func(output string, _ []string) bool { return strings.Contains(output, text) }
}

// chatBegins is when PostgreSQL, Redis, Finn and dixie are there, and a chat begins.
func chatBegins(output string, processes []string) bool {
	return strings.Contains(output, "=== RUN   TestChat") && (runtime.GOOS != "linux" || len(processes) >= 4)
}

// twoStacks is when the stack of TestTrace is there, too.
func twoStacks(output string, processes []string) bool {
	if runtime.GOOS != "linux" {
		return strings.Contains(output, "=== RUN   TestTrace")
	}
	servers := 0
	for _, process := range processes {
		if strings.Contains(process, "staging-server") {
			servers++
		}
	}
	return servers == 2
}

// innerSuite is this program once more.
type innerSuite struct {
	cmd    *exec.Cmd
	output *output
	ended  chan struct{} // Closed when it has ended, with err set.
	err    error
}

func startSuite(t *testing.T, tests []string, environment ...string) *innerSuite {
	t.Helper()
	s := &innerSuite{output: &output{}, ended: make(chan struct{})}
	s.cmd = exec.CommandContext(shared.context(t), os.Args[0], append(tests, "-test.v")...)
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) } // It must take away what it has.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{}
	testserver.EndWithParent(s.cmd.SysProcAttr, syscall.SIGTERM)
	s.cmd.Env = append(os.Environ(), append(environment, binariesVariable+"="+programs(t))...)
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // For a test that has failed before the end.
		<-s.ended
	})
	return s
}

// await waits until the condition is true.
func (s *innerSuite) await(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-s.ended:
			t.Fatalf("the suite has ended too early: %v\n%s", s.err, s.output.String())
		}
	}
}

func (s *innerSuite) interrupt(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

func (s *innerSuite) wait() error {
	<-s.ended
	return s.err
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

// output keeps what is printed.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // GUARDED_BY(mu)
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
