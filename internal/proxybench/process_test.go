package proxybench_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a process is told by its environment.
const (
	roleVariable     = "PROXYBENCH_ROLE"
	upstreamVariable = "PROXYBENCH_UPSTREAM"
	profilesVariable = "PROXYBENCH_PROFILES"
)

// patience bounds the start and the end of a process.
const patience = 30 * time.Second

// process is a role in a process of its own. It ends with its standard input: when the test closes it, and also
// when the test is killed.
type process struct {
	role string
	host string
	cmd  *exec.Cmd
}

// launch starts a role and waits until it listens. The test stops it at its end and waits for that.
func launch(tb testing.TB, role string, upstream *process) *process {
	tb.Helper()
	program, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	p := &process{role: role, cmd: exec.Command(program)}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	if upstream != nil {
		p.cmd.Env = append(p.cmd.Env, upstreamVariable+"=http://"+upstream.host)
	}
	if *profiles != "" {
		folder, err := filepath.Abs(*profiles)
		if err != nil {
			tb.Fatal(err)
		}
		p.cmd.Env = append(p.cmd.Env, profilesVariable+"="+folder)
	}
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.stop(tb, stdin) })
	tooLate := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer tooLate.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		tb.Fatalf("%s did not start: %v", role, err)
	}
	p.host = strings.TrimSpace(line)
	return p
}

func (p *process) stop(tb testing.TB, stdin io.Closer) {
	tb.Helper()
	_ = stdin.Close()
	tooLate := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer tooLate.Stop()
	if err := p.cmd.Wait(); err != nil {
		tb.Errorf("%s ended: %v", p.role, err)
	}
}

// play is the life of a process: it serves on a free port, says which, and ends with standard input.
func play(role string) (err error) {
	var upstream *url.URL
	if text := os.Getenv(upstreamVariable); text != "" {
		if upstream, err = url.Parse(text); err != nil {
			return err
		}
	}
	finish, err := profile(role)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, finish()) }()
	handler, end, err := cast(role, upstream)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	_, err = fmt.Fprintln(os.Stdout, listener.Addr())
	if err == nil {
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	return errors.Join(err, server.Close(), ignoreClosed(<-served))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// profile records where the process spends time and memory, if the test was asked for it.
func profile(role string) (finish func() error, err error) {
	folder := os.Getenv(profilesVariable)
	if folder == "" {
		return func() error { return nil }, nil
	}
	runtime.MemProfileRate = 64 << 10
	processor, err := os.Create(filepath.Join(folder, role+".cpu.pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(processor); err != nil {
		return nil, err
	}
	return func() error {
		pprof.StopCPUProfile()
		memory, err := os.Create(filepath.Join(folder, role+".allocs.pprof"))
		if err != nil {
			return err
		}
		return errors.Join(processor.Close(), pprof.Lookup("allocs").WriteTo(memory, 0), memory.Close())
	}, nil
}

// tick is the unit of times in /proc, the same on every Linux that Go runs on.
const tick = 10 * time.Millisecond

func (p *process) processor() (spent time.Duration, ok bool) { return processor(p.cmd.Process.Pid) }

// processor is the time that a process has spent on processors. ok is false where /proc does not tell.
func processor(pid int) (spent time.Duration, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The second field is a name in parentheses, which may hold anything; user and system time are the 14th and 15th.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, false
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, false
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, err == nil
}

// peak is the most memory that was resident at a time, in bytes. ok is false where /proc does not tell.
func (p *process) peak() (size int64, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kilobytes << 10, err == nil
		}
	}
	return 0, false
}
