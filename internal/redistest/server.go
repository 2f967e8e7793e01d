package redistest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Server is a throw-away Redis with 1000 databases and nothing on a disk, on a loopback port.
type Server struct {
	program string
	folder  string
	port    int
	process *exec.Cmd
	exited  chan struct{}
}

const (
	startTimeout = 30 * time.Second
	databases    = 1000
	// portsToTry is more than one, as another process may take a port that was free a moment ago.
	portsToTry = 3
)

// Create starts a server on a free port. Remove it.
func Create() (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("neither DIXIE_TEST_REDIS_URL nor redis-server: install Redis")
	}
	folder, err := os.MkdirTemp("", "dixie-redistest-")
	if err != nil {
		return nil, fmt.Errorf("folder for the server: %w", err)
	}
	s := &Server{program: program, folder: folder}
	for range portsToTry {
		if s.port, err = freePort(); err == nil {
			err = s.Start()
		}
		if err == nil {
			return s, nil
		}
	}
	s.Remove()
	return nil, err
}

func freePort() (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert,errcheck // A TCP listener has such an address.
	if err := listener.Close(); err != nil {
		return 0, fmt.Errorf("find a port: %w", err)
	}
	return port, nil
}

// URL names the server's database 0.
func (s *Server) URL() string { return "redis://" + s.address() + "/0" }

func (s *Server) address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Start starts a server that was stopped or killed, on the same port and empty, and waits until it answers.
func (s *Server) Start() error {
	log, err := os.OpenFile(filepath.Join(s.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log of the server: %w", err)
	}
	defer func() { _ = log.Close() }()
	s.process = exec.CommandContext(context.Background(), s.program, //nolint:gosec // The program was looked up by a constant name.
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--databases", strconv.Itoa(databases), "--dir", s.folder,
		"--save", "", "--appendonly", "no", "--loglevel", "warning")
	s.process.Dir = s.folder
	s.process.Stdout, s.process.Stderr = log, log
	s.process.SysProcAttr = &syscall.SysProcAttr{}
	endWithParent(s.process.SysProcAttr)
	if err := s.process.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	s.exited = make(chan struct{})
	go func(process *exec.Cmd, exited chan<- struct{}) {
		_ = process.Wait()
		close(exited)
	}(s.process, s.exited)
	return s.await()
}

func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond) //nolint:mnd // How often to look.
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if s.answers(ctx) {
				return nil
			}
		case <-s.exited:
			text, _ := os.ReadFile(filepath.Join(s.folder, "log"))
			return fmt.Errorf("redis-server ended: %s", strings.TrimSpace(string(text)))
		case <-ctx.Done():
			return fmt.Errorf("redis-server does not answer: %w", ctx.Err())
		}
	}
}

// answers says whether this server, and not another one that has the port, answers.
func (s *Server) answers(ctx context.Context) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address())
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("INFO server\r\nQUIT\r\n")); err != nil {
		return false
	}
	info, err := io.ReadAll(conn)
	return err == nil && strings.Contains(string(info), fmt.Sprintf("\r\nprocess_id:%d\r\n", s.process.Process.Pid))
}

// Stop ends the server as its operator would.
func (s *Server) Stop() {
	s.Resume() // A paused one would not notice.
	s.end(syscall.SIGTERM)
}

// Kill ends the server at once, as a crash would.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(signal syscall.Signal) {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(signal)
	<-s.exited
	s.process = nil
}

// Pause holds the server still, as if its machine hung: connections are made, but nothing is answered.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on, which then works on what it was sent meanwhile.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	if s.process != nil {
		_ = s.process.Process.Signal(signal)
	}
}

// Remove ends the server and removes its folder.
func (s *Server) Remove() {
	s.Kill()
	_ = os.RemoveAll(s.folder)
}
