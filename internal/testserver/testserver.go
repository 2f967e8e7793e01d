// Package testserver runs the servers that tests need as child processes, each in a folder of its own and on a port of
// loopback. It is for tests only.
package testserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 30 * time.Second
	lookEvery    = 10 * time.Millisecond
)

// Unavailable skips a test for want of a service, or fails it where DIXIE_TEST_REQUIRE lists the service.
func Unavailable(tb testing.TB, service string, err error) {
	tb.Helper()
	if slices.Contains(strings.Split(os.Getenv("DIXIE_TEST_REQUIRE"), ","), service) {
		tb.Fatalf("%s is required: %v", service, err)
	}
	tb.Skipf("no %s: %v", service, err)
}

// Process is a server that can be started again when it has ended. It is for one goroutine at a time.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start runs a command, whose output goes to the file log of its folder, and waits until answers has no error. The
// process gets lastSignal when this one is killed.
func (p *Process) Start(cmd *exec.Cmd, lastSignal syscall.Signal, answers func(context.Context) error) error {
	path := filepath.Join(cmd.Dir, "log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // A file of the test's.
	if err != nil {
		return fmt.Errorf("log of the server: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	EndWithParent(cmd.SysProcAttr, lastSignal)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	p.cmd, p.exited = cmd, make(chan struct{})
	go func(exited chan<- struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(p.exited)
	if err := p.await(path, answers); err != nil {
		p.End(lastSignal)
		return err
	}
	return nil
}

func (p *Process) await(log string, answers func(context.Context) error) error {
	name := filepath.Base(p.cmd.Path)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		err := answers(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			text, _ := os.ReadFile(log) //nolint:gosec // A file of the test's.
			return fmt.Errorf("%s ended: %s", name, strings.TrimSpace(string(text)))
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", name, err)
		}
	}
}

// PID is the number of a process that runs.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to a process that runs.
func (p *Process) Signal(signal syscall.Signal) {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(signal)
	}
}

// End sends a signal and waits for the end. What does not run is left alone.
func (p *Process) End(signal syscall.Signal) {
	if p.cmd == nil {
		return
	}
	p.Signal(signal)
	<-p.exited
	p.cmd = nil
}
