package postgres_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"dixie/fleet"
	"dixie/fleet/postgres"
)

// childDatabase makes this test program a worker on the database that it names, instead of running tests.
const childDatabase = "DIXIE_FLEET_TEST_CHILD"

// child works until its process is ended. It says on standard output what it does, a line for each thing.
func child(url string) error {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	cfg := quick()
	cfg.Pool = pool
	store, err := postgres.New(cfg)
	if err != nil {
		return err
	}
	service, err := fleet.New(fleet.Config{Store: store, Policy: generous{}, Runner: fleet.RunnerFunc(
		func(ctx context.Context, job fleet.Job, report fleet.Report) error {
			report.Started("child")
			say("running", job.Task.ID)
			beatUntil(ctx, pool, job.Task, "child", ctx.Done())
			say("ended", errors.Is(context.Cause(ctx), fleet.ErrStopped))
			// A worker that does not care writes all the same, and says that the work is done.
			target := fleet.Target{Scope: everyone(), ID: job.Task.ID, Attempt: job.Task.Attempt}
			late := context.WithoutCancel(ctx)
			_, update := store.Update(late, target, func(t fleet.Task) (fleet.Change, error) { return fleet.Change{Task: t}, nil })
			log := store.AppendLog(late, target, []string{"late"})
			say("fenced", errors.Is(update, fleet.ErrFenced), errors.Is(log, fleet.ErrFenced))
			return nil
		})})
	if err == nil {
		err = service.Start(ctx)
	}
	if err != nil {
		return err
	}
	select {} // Until it is killed.
}

func say(words ...any) { _, _ = fmt.Fprintln(os.Stdout, words...) }

// process is a child as its parent sees it.
type process struct {
	*exec.Cmd

	lines chan string
}

// spawn starts a child on the database and kills it when the test ends.
func spawn(t *testing.T, url string) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(context.WithoutCancel(t.Context()), program), lines: make(chan string, 100)}
	p.Env = append(os.Environ(), childDatabase+"="+url)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-ended
		_ = p.Wait()
	})
	return p
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatalf("signal %v: %v", s, err)
	}
}

// expect waits for the next line, which must be this one.
func (p *process) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := receive(t, p.lines); got != strings.Join(want, " ") {
		t.Fatalf("the child says %q, want %q", got, want)
	}
}

// TestKilledWorker kills the process of a worker in the middle of its task.
func TestKilledWorker(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	pool := connect(t, url)
	prepareBeats(t, pool)
	traces := make(chan trace.SpanContext, 10)
	work := beating(pool, "parent")
	service, store := serve(t, url, quick(), func(ctx context.Context, job fleet.Job, report fleet.Report) error {
		traces <- trace.SpanContextFromContext(ctx)
		return work(ctx, job, report)
	})
	parent := spawner(t)
	id := admitIn(trace.ContextWithSpanContext(t.Context(), parent), t, service)
	worker := spawn(t, url)
	worker.expect(t, "running", id)
	awaitBeat(t, pool, id)

	start(t, service)
	worker.signal(t, syscall.SIGKILL)
	killed := time.Now()
	task := await(t, store, id, fleet.Completed)
	took := task.History[len(task.History)-1].At.Sub(killed)
	t.Logf("killed with SIGKILL; completed by another process %v later (lease %v, sweep %v)",
		took.Round(time.Millisecond), quick().Lease, quick().SweepInterval)
	if task.Attempt != 2 || task.RetryCount != 0 || task.Failure == nil || task.Failure.Reason != fleet.ReasonLost {
		t.Errorf("attempt %d, %d retries, failure %+v; want a second attempt that spent no retry",
			task.Attempt, task.RetryCount, task.Failure)
	}
	wantTurns(t, pool, id, 2)
	// T4.6: the attempt belongs to the trace of the spawn, although no process is left that knew it.
	if got := receive(t, traces); !got.Equal(parent) {
		t.Errorf("the second attempt runs in %v, want %v", got, parent)
	}
}

// TestKilledWorkers kills two processes that have all tasks between them, at once.
func TestKilledWorkers(t *testing.T) {
	t.Parallel()
	const tasks = 12
	url := server.Migrated(t)
	pool := connect(t, url)
	prepareBeats(t, pool)
	service, store := serve(t, url, quick(), beating(pool, "parent"))
	workers := []*process{spawn(t, url), spawn(t, url)}
	var ids []string
	for range tasks {
		ids = append(ids, admit(t, service))
	}
	for _, id := range ids {
		awaitBeat(t, pool, id)
	}
	for _, worker := range workers {
		worker.signal(t, syscall.SIGKILL)
	}
	start(t, service)
	for _, id := range ids {
		if task := await(t, store, id, fleet.Completed); task.Attempt != 2 || task.RetryCount != 0 {
			t.Errorf("attempt %d, %d retries; want the second and none", task.Attempt, task.RetryCount)
		}
		wantTurns(t, pool, id, 2)
	}
	if entries, sum := spent(t, pool); entries != tasks || sum != tasks*taskCost {
		t.Errorf("%d entries of %d micro-USD, want %d of %d", entries, sum, tasks, tasks*taskCost)
	}
}

// TestHaltedWorker holds the process of a worker still for longer than its lease, and then lets it go on.
func TestHaltedWorker(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	pool := connect(t, url)
	prepareBeats(t, pool)
	service, store := serve(t, url, quick(), beating(pool, "parent"))
	id := admit(t, service)
	worker := spawn(t, url)
	worker.expect(t, "running", id)
	awaitBeat(t, pool, id)

	start(t, service)
	worker.signal(t, syscall.SIGSTOP)
	task := await(t, store, id, fleet.Completed)
	wantTurns(t, pool, id, 2)
	worker.signal(t, syscall.SIGCONT)
	worker.expect(t, "ended", "true")
	worker.expect(t, "fenced", "true", "true")
	after := await(t, store, id, fleet.Completed)
	lines, err := store.Log(t.Context(), everyone(), id, 100)
	if err != nil {
		t.Fatal(err)
	}
	if after.Version != task.Version || strings.Contains(strings.Join(lines, "\n"), "late") {
		t.Errorf("version %d, then %d; log %q: want nothing of the fenced worker", task.Version, after.Version, lines)
	}
}
