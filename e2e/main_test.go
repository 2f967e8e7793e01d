package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dixie/e2e"
	"dixie/internal/pgtest"
	"dixie/internal/redistest"
)

//nolint:gochecknoglobals // What the scenarios share.
var (
	shared   = &suite{over: make(chan struct{})}
	postgres *pgtest.Pool
	redis    *redistest.Pool
)

func TestMain(m *testing.M) {
	shared.tests = m
	postgres = pgtest.Main(shared) // The processes end first, then what they use.
	redis = redistest.Main(postgres)
	goleak.VerifyTestMain(redis)
}

// suite is one service for all scenarios and all of their repetitions: the one that is named, or processes
// of its own.
type suite struct {
	tests interface{ Run() int }

	mu       sync.Mutex
	service  *e2e.Service // GUARDED_BY(mu)
	err      error        // GUARDED_BY(mu)
	stack    *stack       // GUARDED_BY(mu)
	binaries string       // GUARDED_BY(mu)

	stacks stacks
	over   chan struct{} // Closed when the suite must end early, with why set.
	why    error

	// How long it took to be healthy, and from when. Written once, before a scenario begins.
	untilHealthy time.Duration
	since        string
}

// binariesVariable tells a suite that another one starts where the programs are.
const binariesVariable = "DIXIE_E2E_BINARIES"

const (
	// testsLimit is how long running tests may take to notice that the suite is over.
	testsLimit = 20 * time.Second
	// withdrawLimit bounds taking out of the service what tests have put in; dixie may be in a restart.
	withdrawLimit = time.Minute
	// longestReserve is the most that is kept of -timeout for ending, since Go ends a process at once that reaches it.
	longestReserve = time.Minute
)

var errEnded = errors.New("the suite has ended")

// Run runs the tests and takes away what they started, also when they are interrupted or take too long.
func (s *suite) Run() int {
	// As many clients at once as a scenario has, on few processors too; -parallel has the last word.
	if err := flag.Set("test.parallel", strconv.Itoa(clientsAtOnce)); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	flag.Parse()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	done := make(chan int, 1)
	go func() { done <- s.tests.Run() }()
	code := 1
	select {
	case code = <-done:
	case got := <-interrupted:
		s.why = fmt.Errorf("the suite was interrupted (%s)", got)
	case limit := <-tooLong():
		s.why = fmt.Errorf("the suite has run for %s, almost its -timeout", limit)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1) // Where the time went, as Go would tell.
	}
	signal.Stop(interrupted) // A second one ends the process at once.
	if s.why != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v: taking away what is there\n", s.why)
		close(s.over)
	}
	problems := []error{s.withdraw()}
	if s.why != nil {
		select {
		case <-done:
		case <-time.After(testsLimit):
		}
	}
	if err := errors.Join(append(problems, s.end())...); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	return code
}

// tooLong tells when so much of -timeout is over that the rest is needed for ending.
func tooLong() <-chan time.Duration {
	told := make(chan time.Duration, 1)
	limit, ok := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration)
	if !ok || limit <= 0 {
		return told
	}
	limit -= min(limit/4, longestReserve)
	time.AfterFunc(limit, func() { told <- limit })
	return told
}

// withdraw takes out of the service what tests have put in. Of a stack of our own the databases go away as a whole.
func (s *suite) withdraw() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.service == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), withdrawLimit)
	defer cancel()
	err := s.service.Withdraw(ctx)
	if s.stack != nil {
		return nil
	}
	return err
}

// context ends with the test, and when the suite must end early.
func (s *suite) context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		select {
		case <-s.over:
			cancel(s.why)
		case <-ctx.Done():
		}
	}()
	return ctx
}

func (s *suite) end() error {
	problems := []error{s.stacks.end()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.binaries != "" && os.Getenv(binariesVariable) == "" {
		problems = append(problems, os.RemoveAll(s.binaries))
	}
	s.err = errEnded
	s.service = nil
	return errors.Join(problems...)
}

// service is the service of all scenarios, healthy.
func service(t *testing.T) *e2e.Service {
	t.Helper()
	select {
	case <-shared.over:
		t.Skip(shared.why)
	default:
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.service == nil && shared.err == nil {
		shared.service, shared.err = shared.find(t)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.service
}

// find looks for the service that is named, or starts one, and waits until it is healthy.
func (s *suite) find(t *testing.T) (*e2e.Service, error) {
	t.Helper()
	ctx := s.context(t)
	found, err := e2e.FromEnvironment(os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("the DIXIE_E2E_ variables are not usable: %w", err)
	}
	started := time.Now()
	s.since = "the first look"
	if found == nil {
		binaries, err := s.build(ctx)
		if err != nil {
			return nil, err
		}
		started = time.Now()
		s.since = "the start of PostgreSQL, Redis, NATS, Finn and dixie"
		databases := stackConfig{postgres: postgres.Lasting(t), redis: redis.Lasting(t), binaries: binaries}
		if s.stack, err = startStack(ctx, databases); err != nil {
			return nil, err
		}
		found = s.stack.service
	}
	if _, _, err := found.WaitHealthy(ctx, "", e2e.StartLimit); err != nil {
		return nil, err
	}
	s.untilHealthy = time.Since(started)
	return found, nil
}

// programs compiles what the stack runs, once.
func programs(t *testing.T) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	folder, err := shared.build(shared.context(t))
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// build is called with mu held.
func (s *suite) build(ctx context.Context) (string, error) {
	if s.binaries == "" {
		s.binaries = os.Getenv(binariesVariable)
	}
	if s.binaries != "" {
		return s.binaries, nil
	}
	sources := []string{"dixie/examples/staging-server", "dixie/examples/local-finn"}
	if err := noticeChanges(ctx, sources); err != nil {
		return "", err
	}
	folder, err := os.MkdirTemp("", "dixie-e2e-programs-")
	if err != nil {
		return "", fmt.Errorf("folder for the programs: %w", err)
	}
	s.binaries = folder
	build := exec.CommandContext(ctx, "go", append([]string{"build", "-o", folder + string(filepath.Separator)}, sources...)...)
	build.Env = append(os.Environ(), "GOTMPDIR="+folder) // One that is interrupted leaves its own folder behind.
	build.WaitDelay = testsLimit / 2
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return folder, nil
}

// noticeChanges looks into the folders that the programs are made of: go test runs a test again, instead of
// telling an old result, when what the test itself has looked at is another.
func noticeChanges(ctx context.Context, sources []string) error {
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-f", `{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}`}, sources...)...)
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the packages of the programs: %w", err)
	}
	for folder := range strings.FieldsSeq(string(out)) {
		if _, err := os.ReadDir(folder); err != nil {
			return fmt.Errorf("look into the sources: %w", err)
		}
	}
	return nil
}
