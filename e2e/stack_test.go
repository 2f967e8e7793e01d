package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"dixie/e2e"
	"dixie/internal/testserver"
)

// stackConfig is what a stack of processes is made of; databases are there already.
type stackConfig struct {
	postgres, redis, binaries string
	// collector is the OTLP endpoint that dixie and Finn send spans to; empty is none.
	collector string
}

// stack is NATS in this process, and Finn and dixie as processes of a staging environment.
type stack struct {
	service *e2e.Service

	mu          sync.Mutex // For whole steps: starting, restarting, ending.
	ended       bool       // GUARDED_BY(mu)
	folder      string     // GUARDED_BY(mu)
	nats        *natsserver.Server
	finn, dixie *process
}

// stacks are all of them that a suite has started.
type stacks struct {
	mu    sync.Mutex
	all   []*stack // GUARDED_BY(mu)
	ended bool     // GUARDED_BY(mu)
}

func (s *stacks) add(one *stack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	s.all = append(s.all, one)
	return nil
}

// end ends each stack that has not ended; no other will start.
func (s *stacks) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	var problems []error
	for _, one := range s.all {
		problems = append(problems, one.end())
	}
	return errors.Join(problems...)
}

const (
	adminKey = "the-admin-key-of-the-stack"
	// exitLimit is above the drain of dixie and of Finn.
	exitLimit  = 30 * time.Second
	startLimit = 30 * time.Second
	// requestsPerMinute, and a tenth of it in nonces, lets two runs in a row through and makes more of them wait.
	requestsPerMinute = 300
)

// startStack starts it, until ctx ends. It is not healthy yet; end it, or the suite does.
func startStack(ctx context.Context, c stackConfig) (*stack, error) {
	s := &stack{}
	if err := shared.stacks.add(s); err != nil {
		return nil, err
	}
	if err := s.start(ctx, c); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

func (s *stack) start(ctx context.Context, c stackConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	var err error
	if s.folder, err = os.MkdirTemp("", "dixie-e2e-stack-"); err != nil {
		return fmt.Errorf("folder for the stack: %w", err)
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = testserver.FreePort(); err != nil {
			return fmt.Errorf("find a port: %w", err)
		}
	}
	if err := s.startNATS(ports[0]); err != nil {
		return err
	}
	const token = "the-token-of-finn"
	s.finn = &process{
		program: filepath.Join(c.binaries, "local-finn"), folder: s.folder,
		args: []string{"-host", "127.0.0.1", "-port", strconv.Itoa(ports[1]), "-word-delay", "20ms"},
		env:  append(tracing(c.collector), "FINN_AUTH_TOKEN="+token),
	}
	finn := "http://127.0.0.1:" + strconv.Itoa(ports[1])
	if err := s.finn.start(); err != nil {
		return err
	}
	if err := s.finn.await(ctx, finn+"/healthz"); err != nil {
		return err
	}
	allowlist := filepath.Join(s.folder, "allowlist.json")
	empty, err := json.Marshal(map[string]any{"version": 1, "wallets": []string{}, "apiKeys": []string{}})
	if err != nil {
		return fmt.Errorf("allowlist: %w", err)
	}
	if err := os.WriteFile(allowlist, empty, 0o600); err != nil {
		return fmt.Errorf("allowlist: %w", err)
	}
	url := "http://127.0.0.1:" + strconv.Itoa(ports[2])
	s.dixie = &process{
		program: filepath.Join(c.binaries, "staging-server"), folder: s.folder,
		env: append(tracing(c.collector),
			"DIXIE_ENV=staging", "DIXIE_HOST=127.0.0.1", "DIXIE_PORT="+strconv.Itoa(ports[2]), "DIXIE_CORS_ORIGINS="+url,
			"DATABASE_URL="+c.postgres, "REDIS_URL="+c.redis, "NATS_URL="+s.nats.ClientURL(),
			"FINN_URL="+finn, "FINN_AUTH_TOKEN="+token, "DIXIE_ALLOWLIST_PATH="+allowlist,
			"DIXIE_ADMIN_KEY="+adminKey, "DIXIE_JWT_PRIVATE_KEY="+strings.Repeat("s", 32),
			"DIXIE_RATE_LIMIT_RPM="+strconv.Itoa(requestsPerMinute)),
	}
	if err := s.dixie.start(); err != nil {
		return err
	}
	s.service, err = e2e.NewService(e2e.ServiceConfig{
		URL: url, AdminKey: adminKey,
		Restart: func(context.Context) error { return s.restart() },
		Alive:   s.alive,
		Logs:    func(context.Context) string { return s.dixie.log.String() },
	})
	return err
}

func (s *stack) restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	return errors.Join(s.dixie.stop(), s.dixie.start())
}

func (s *stack) alive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	return s.dixie.alive()
}

// tracing has a process send its spans at once.
func tracing(collector string) []string {
	if collector == "" {
		return nil
	}
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector, "OTEL_BSP_SCHEDULE_DELAY=100"}
}

func (s *stack) startNATS(port int) error {
	var err error
	s.nats, err = natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: filepath.Join(s.folder, "nats"), NoLog: true, NoSigs: true,
	})
	if err != nil {
		return fmt.Errorf("NATS: %w", err)
	}
	s.nats.Start()
	if !s.nats.ReadyForConnections(startLimit) {
		return errors.New("NATS does not start")
	}
	return nil
}

// end takes everything away, in the reverse order. Once is enough.
func (s *stack) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	s.ended = true
	problems := []error{s.dixie.stop(), s.finn.stop()}
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
	return errors.Join(append(problems, os.RemoveAll(s.folder))...)
}

// process is a program that can be stopped and started again.
type process struct {
	program, folder string
	args, env       []string

	log    lastLines
	cmd    *exec.Cmd
	exited chan struct{} // Closed when it has ended, with failed set.
	failed error
}

func (p *process) start() error {
	p.cmd = exec.CommandContext(context.Background(), p.program, p.args...)
	p.cmd.Dir = p.folder
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, p.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	testserver.EndWithParent(p.cmd.SysProcAttr, syscall.SIGKILL)
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(p.program), err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(p.program), err)
	}
	p.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		p.log.readAll(output)
		p.failed = cmd.Wait()
		close(exited)
	}(p.cmd, p.exited)
	return nil
}

// alive has an error when the process has ended by itself.
func (p *process) alive() error {
	select {
	case <-p.exited:
		return p.endedWith()
	default:
		return nil
	}
}

// endedWith is how a process ended.
func (p *process) endedWith() error {
	result := "exit status 0"
	if p.failed != nil {
		result = p.failed.Error()
	}
	return fmt.Errorf("%s has ended: %s", filepath.Base(p.program), result)
}

// await waits until the process answers 200.
func (p *process) await(ctx context.Context, url string) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(startLimit)
	for {
		response, err := client.Get(url)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("%w\n%s", p.endedWith(), p.log.String())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer yet: %w", filepath.Base(p.program), context.Cause(ctx))
		case <-deadline:
			return fmt.Errorf("%s does not answer\n%s", filepath.Base(p.program), p.log.String())
		}
	}
}

// stop asks the process to end, as its operator would, and wants it to end well. One that was never
// started is no problem.
func (p *process) stop() error {
	if p == nil || p.exited == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // It may have ended by itself, which its result tells.
	select {
	case <-p.exited:
	case <-time.After(exitLimit):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s was still running %s after SIGTERM\n%s", filepath.Base(p.program), exitLimit, p.log.String())
	}
	p.exited = nil
	if p.failed != nil {
		return fmt.Errorf("%s did not end well: %w\n%s", filepath.Base(p.program), p.failed, p.log.String())
	}
	return nil
}

// lastLines keeps the end of a log.
type lastLines struct {
	mu    sync.Mutex
	lines []string // GUARDED_BY(mu)
}

const (
	keptLines   = 200
	longestLine = 1 << 20
)

func (l *lastLines) readAll(from io.Reader) {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, longestLine)
	for scanner.Scan() {
		l.mu.Lock()
		l.lines = append(l.lines, scanner.Text())
		l.lines = l.lines[max(0, len(l.lines)-keptLines):]
		l.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, from) // After a line that is too long, so that the process can go on.
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
