package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"dixie/internal/testserver"
)

// Server is a throw-away cluster with one superuser, test, and durable commits, on a loopback port.
type Server struct {
	bin     string
	folder  string
	port    int
	account *syscall.Credential
	process testserver.Process
}

// atOnce ends the server and its backends without a word on the disk.
const atOnce = syscall.SIGQUIT

// Create makes a cluster in a temporary folder and starts it. Remove it.
func Create() (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "dixie-pgtest-")
	if err != nil {
		return nil, fmt.Errorf("folder for the cluster: %w", err)
	}
	s := &Server{bin: bin, folder: folder}
	if err := s.create(); err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

func (s *Server) create() error {
	if err := s.chooseAccount(); err != nil {
		return err
	}
	initdb := s.command("initdb", "--pgdata="+s.data(), "--username=test", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	port, err := testserver.FreePort()
	if err != nil {
		return err
	}
	s.port = port
	return s.Start()
}

// chooseAccount takes another user than root, whom PostgreSQL refuses.
func (s *Server) chooseAccount() error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(account.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(account.Gid, 10, 32)
		if err := errors.Join(uerr, gerr); err != nil {
			return fmt.Errorf("user %s: %w", name, err)
		}
		s.account = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.folder, int(uid), int(gid)); err != nil {
			return fmt.Errorf("hand the folder over: %w", err)
		}
		return nil
	}
	return errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "postgres")); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("neither DIXIE_TEST_DATABASE_URL nor initdb: install PostgreSQL's server")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(s.bin, name), args...) //nolint:gosec // The names are constants.
	cmd.Dir = s.folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	testserver.EndWithParent(cmd.SysProcAttr, atOnce)
	return cmd
}

// URL names the database that every cluster has.
func (s *Server) URL() string {
	return "postgres://test@127.0.0.1:" + strconv.Itoa(s.port) + "/postgres?sslmode=disable"
}

// Start starts a server that was stopped or killed, on the same port and data, and waits until it answers.
func (s *Server) Start() error {
	cmd := s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "log_min_messages=warning")
	return s.process.Start(cmd, atOnce, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, s.URL())
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		return conn.Close(ctx)
	})
}

// Stop ends the server as its operator would, without waiting for clients.
func (s *Server) Stop() { s.process.End(syscall.SIGINT) }

// Kill ends the server at once, as a crash would: its data is as it was on the disk.
func (s *Server) Kill() { s.process.End(atOnce) }

// Remove ends the server and removes its data.
func (s *Server) Remove() {
	s.Kill()
	_ = os.RemoveAll(s.folder)
}

// Pause holds the server and its backends still, as if their machine hung, and returns the function that
// lets them go on. Linux only: it looks for the backends in /proc.
func (s *Server) Pause() (resume func(), err error) {
	processes := []int{s.process.PID()}
	signal := func(signal syscall.Signal) {
		for _, pid := range processes {
			_ = syscall.Kill(pid, signal) // One that has ended meanwhile needs nothing.
		}
	}
	resume = func() { signal(syscall.SIGCONT) }
	// The server first: only when it stands does it make no backend that is not seen below.
	signal(syscall.SIGSTOP)
	backends, err := backendsOf(processes[0])
	if err != nil {
		resume()
		return nil, err
	}
	processes = append(processes, backends...)
	signal(syscall.SIGSTOP)
	return resume, nil
}

// backendsOf waits until the server stands, and lists its children.
func backendsOf(server int) ([]int, error) {
	limit := time.NewTimer(pauseLimit)
	defer limit.Stop()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		state, _, err := status(server)
		if err != nil {
			return nil, fmt.Errorf("look at the server: %w", err)
		}
		if state == "T" {
			break
		}
		select {
		case <-look.C:
		case <-limit.C:
			return nil, fmt.Errorf("the server does not stand, its state is %s", state)
		}
	}
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("look for backends: %w", err)
	}
	var backends []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if _, parent, err := status(pid); err == nil && parent == server { // Else it has ended.
			backends = append(backends, pid)
		}
	}
	return backends, nil
}

// pauseLimit is how long a server may take until it stands.
const pauseLimit = 10 * time.Second

// status is the state of a process, and its parent.
func status(pid int) (state string, parent int, err error) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", 0, fmt.Errorf("status: %w", err)
	}
	// pid (name) state ppid ...; the name may hold anything.
	fields := strings.Fields(string(raw[bytes.LastIndex(raw, []byte(") "))+1:]))
	if len(fields) < 2 {
		return "", 0, fmt.Errorf("status: %q", raw)
	}
	parent, err = strconv.Atoi(fields[1])
	if err != nil {
		return "", 0, fmt.Errorf("status: %w", err)
	}
	return fields[0], parent, nil
}
