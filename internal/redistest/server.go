package redistest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dixie/internal/testserver"
)

// Server is a throw-away Redis with 1000 databases and nothing on a disk, on a loopback port.
type Server struct {
	program string
	folder  string
	port    int
	process testserver.Process
}

const databases = 1000

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
	if s.port, err = testserver.FreePort(); err == nil {
		err = s.Start()
	}
	if err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

// URL names the server's database 0.
func (s *Server) URL() string { return "redis://" + s.address() + "/0" }

func (s *Server) address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Start starts a server that was stopped or killed, on the same port and empty, and waits until it answers.
func (s *Server) Start() error {
	cmd := exec.CommandContext(context.Background(), s.program, //nolint:gosec // The program was looked up by a constant name.
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--databases", strconv.Itoa(databases), "--dir", s.folder,
		"--save", "", "--appendonly", "no", "--loglevel", "warning")
	cmd.Dir = s.folder
	return s.process.Start(cmd, syscall.SIGKILL, s.answers)
}

// answers has no error when this server, and not another one that has the port, answers.
func (s *Server) answers(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("INFO server\r\nQUIT\r\n")); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	info, err := io.ReadAll(conn)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	if !strings.Contains(string(info), fmt.Sprintf("\r\nprocess_id:%d\r\n", s.process.PID())) {
		return errors.New("another server has the port")
	}
	return nil
}

// Stop ends the server as its operator would.
func (s *Server) Stop() {
	s.Resume() // A paused one would not notice.
	s.process.End(syscall.SIGTERM)
}

// Kill ends the server at once, as a crash would.
func (s *Server) Kill() { s.process.End(syscall.SIGKILL) }

// Pause holds the server still, as if its machine hung: connections are made, but nothing is answered.
func (s *Server) Pause() { s.process.Signal(syscall.SIGSTOP) }

// Resume lets a paused server go on, which then works on what it was sent meanwhile.
func (s *Server) Resume() { s.process.Signal(syscall.SIGCONT) }

// Remove ends the server and removes its folder.
func (s *Server) Remove() {
	s.Kill()
	_ = os.RemoveAll(s.folder)
}
