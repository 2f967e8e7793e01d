package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
)

func statuses(t fleet.Task) []fleet.Status {
	var out []fleet.Status
	for _, p := range t.History {
		out = append(out, p.Status)
	}
	return out
}

func (b *bundle) wantHistory(task fleet.Task, want ...fleet.Status) {
	b.t.Helper()
	if diff := cmp.Diff(want, statuses(task)); diff != "" {
		b.t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestTaskCompletes(t *testing.T) {
	t.Parallel()
	run := func(_ context.Context, job fleet.Job, report fleet.Report) error {
		report.Started("session-7")
		report.Started("ignored")
		pass(3 * time.Second)
		report.Log("prompt: " + strings.SplitN(job.Prompt, "\n", 2)[0][:24])
		report.Log("two\nlines \x1b[31mred\x00\n")
		pass(time.Second)
		return nil
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		task := b.spawn(request())
		running := b.settled(task.ID)
		b.want(running, fleet.Running)
		if running.Reference != "session-7" || !running.SpawnedAt.Equal(task.CreatedAt) || !running.CompletedAt.IsZero() {
			t.Errorf("running task: %+v", running)
		}
		b.pass(3*time.Second + 200*time.Millisecond)
		synctest.Wait()
		if diff := cmp.Diff([]string{"prompt: You are a software agent", "two", "lines [31mred"}, b.log(task.ID)); diff != "" {
			t.Errorf("log while it runs (-want +got):\n%s", diff)
		}
		b.pass(time.Second)
		done := b.settled(task.ID)
		b.wantHistory(done, fleet.Proposed, fleet.Spawning, fleet.Running, fleet.Completed)
		if got := done.CompletedAt.Sub(done.SpawnedAt); got != 4*time.Second {
			t.Errorf("it took %v, want 4s", got)
		}
		if diff := cmp.Diff([]fleet.EventType{fleet.AgentSpawned, fleet.AgentCompleted}, b.events.types()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		overview, err := b.Status(t.Context(), owner())
		if err != nil || overview.Active != 0 || overview.Completed != 1 || overview.Failed != 0 || len(overview.Tasks) != 1 {
			t.Errorf("Status: %+v, %v", overview, err)
		}
	})
}

func TestTaskThatNeverSaysStartedCompletes(t *testing.T) {
	t.Parallel()
	inBubble(t, doNothing, func(_ *testing.T, b *bundle) {
		done := b.settled(b.spawn(request()).ID)
		b.wantHistory(done, fleet.Proposed, fleet.Spawning, fleet.Running, fleet.Completed)
	})
}

func TestTaskRetriesUntilAbandoned(t *testing.T) {
	t.Parallel()
	code := 3
	run := func(_ context.Context, _ fleet.Job, report fleet.Report) error {
		report.Started("")
		return &fleet.RunError{Reason: "exit", ExitCode: &code, Err: errOuch}
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		r := request()
		retries := 2
		r.MaxRetries = &retries
		task := b.spawn(r)
		begin := time.Now()
		waiting := b.settled(task.ID)
		b.want(waiting, fleet.Retrying)
		if waiting.RetryCount != 1 || waiting.Attempt != 2 || waiting.Failure == nil {
			t.Errorf("after the first failure: %+v", waiting)
		}
		b.pass(30*time.Second - time.Nanosecond)
		b.want(b.settled(task.ID), fleet.Retrying)
		b.pass(60*time.Second + time.Nanosecond)
		done := b.settled(task.ID)
		b.wantHistory(done, fleet.Proposed,
			fleet.Spawning, fleet.Running, fleet.Failed, fleet.Retrying,
			fleet.Spawning, fleet.Running, fleet.Failed, fleet.Retrying,
			fleet.Spawning, fleet.Running, fleet.Failed, fleet.Abandoned)
		wantFailure := &fleet.Failure{Reason: "exit", Attempt: 3, ExitCode: &code, At: begin.Add(90 * time.Second).UTC()}
		if diff := cmp.Diff(wantFailure, done.Failure); diff != "" {
			t.Errorf("failure (-want +got):\n%s", diff)
		}
		if done.RetryCount != 2 || b.spent() != 4000 {
			t.Errorf("%d retries, %d spent; work that ran is paid", done.RetryCount, b.spent())
		}
		want := []fleet.EventType{fleet.AgentSpawned, fleet.AgentRetrying, fleet.AgentRetrying, fleet.AgentFailed}
		if diff := cmp.Diff(want, b.events.types()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		wantLog := []string{
			"[fleet] attempt failed: exit", "[fleet] attempt 2", "[fleet] attempt failed: exit",
			"[fleet] attempt 3", "[fleet] attempt failed: exit",
		}
		if diff := cmp.Diff(wantLog, b.log(task.ID)); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestFailuresOfOneAttempt(t *testing.T) {
	t.Parallel()
	fails := func(err error) fleet.RunnerFunc {
		return func(context.Context, fleet.Job, fleet.Report) error { return err }
	}
	started := func(err error) fleet.RunnerFunc {
		return func(_ context.Context, _ fleet.Job, report fleet.Report) error {
			report.Started("x")
			return err
		}
	}
	permanent := fmt.Errorf("wrapped: %w", &fleet.RunError{Reason: "no", Permanent: true})
	for name, c := range map[string]struct {
		run    fleet.RunnerFunc
		reason string
		status fleet.Status
		spent  int64
	}{
		"any error":        {fails(errOuch), fleet.ReasonRunner, fleet.Retrying, 4000},
		"panic":            {panics, fleet.ReasonPanic, fleet.Retrying, 4000},
		"odd reason":       {fails(&fleet.RunError{Reason: "My secret"}), fleet.ReasonRunner, fleet.Retrying, 4000},
		"long reason":      {fails(&fleet.RunError{Reason: strings.Repeat("x", 65)}), fleet.ReasonRunner, fleet.Retrying, 4000},
		"permanent, never": {fails(permanent), "no", fleet.Abandoned, 0},
		"permanent, ran":   {started(permanent), "no", fleet.Abandoned, 4000},
	} {
		inBubble(t, c.run, func(t *testing.T, b *bundle) {
			got := b.settled(b.spawn(request()).ID)
			if got.Status != c.status || got.Failure == nil || got.Failure.Reason != c.reason || b.spent() != c.spent {
				t.Errorf("%s: %s, %+v, %d spent", name, got.Status, got.Failure, b.spent())
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	run := func(context.Context, fleet.Job, fleet.Report) error {
		if calls.Add(1) == 1 {
			return &fleet.RunError{Reason: "rate_limited", RetryAfter: 10 * time.Minute}
		}
		return nil
	}
	inBubble(t, run, func(_ *testing.T, b *bundle) {
		task := b.spawn(request())
		b.pass(10*time.Minute - time.Second)
		b.want(b.settled(task.ID), fleet.Retrying)
		b.pass(time.Second)
		b.want(b.settled(task.ID), fleet.Completed)
	})
}

func TestPromptShrinksAfterOutOfMemory(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var lengths []int
	run := func(_ context.Context, job fleet.Job, _ fleet.Report) error {
		mu.Lock()
		defer mu.Unlock()
		lengths = append(lengths, len(job.Prompt))
		return &fleet.RunError{Reason: fleet.ReasonOutOfMemory}
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		r := request()
		retries := 2
		r.MaxRetries, r.Description = &retries, strings.Repeat("ü", 10_000)
		r.ContextOverrides = map[string]string{"a": strings.Repeat("x", 4000), "b": strings.Repeat("y", 4000), "c": strings.Repeat("z", 4000)}
		b.spawn(r)
		b.pass(time.Hour)
		want := []int{32_000, 24_000, 18_000}
		if len(lengths) != len(want) {
			t.Fatalf("prompts of %v bytes, want %v", lengths, want)
		}
		for i, length := range lengths {
			// A character may not fit in whole.
			if length > want[i] || length < want[i]-1 {
				t.Errorf("attempt %d had a prompt of %d bytes, want %d", i+1, length, want[i])
			}
		}
	})
}

func TestTimeLimit(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		r := request()
		minutes, retries := 5, 1
		r.TimeoutMinutes, r.MaxRetries = &minutes, &retries
		task := b.spawn(r)
		b.pass(5*time.Minute - time.Second)
		b.want(b.settled(task.ID), fleet.Running)
		b.pass(time.Second)
		failed := b.settled(task.ID)
		b.want(failed, fleet.Retrying)
		if failed.Failure == nil || failed.Failure.Reason != fleet.ReasonTimeout {
			t.Errorf("failure %+v, want a timeout", failed.Failure)
		}
		// Each attempt has the whole time.
		b.pass(30*time.Second + 5*time.Minute)
		b.want(b.settled(task.ID), fleet.Abandoned)
	})
}

func TestStop(t *testing.T) {
	t.Parallel()
	var cause error
	run := func(ctx context.Context, job fleet.Job, report fleet.Report) error {
		err := hang(ctx, job, report)
		cause = err
		report.Log("too late")
		report.PullRequest(9)
		return err
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		task := b.spawn(request())
		b.want(b.settled(task.ID), fleet.Running)
		for _, scope := range []fleet.Scope{{Operator: bob}, {}} {
			if _, err := b.Stop(t.Context(), scope, task.ID); !errors.Is(err, fleet.ErrNotFound) {
				t.Errorf("Stop by %+v: %v, want ErrNotFound", scope, err)
			}
		}
		got, err := b.Stop(t.Context(), owner(), strings.ToUpper(task.ID))
		if err != nil || got.Status != fleet.Cancelled {
			t.Fatalf("Stop: %s, %v", got.Status, err)
		}
		after := b.settled(task.ID)
		if diff := cmp.Diff(got, after); diff != "" {
			t.Errorf("the worker changed a stopped task (-want +got):\n%s", diff)
		}
		if !errors.Is(cause, fleet.ErrStopped) || len(b.log(task.ID)) != 0 {
			t.Errorf("cause %v, log %q", cause, b.log(task.ID))
		}
		var conflict *fleet.ConflictError
		if _, err := b.Stop(t.Context(), owner(), task.ID); !errors.As(err, &conflict) || conflict.Status != fleet.Cancelled {
			t.Errorf("Stop again: %v, want a conflict", err)
		}
		if spent := b.spent(); spent != 4000 {
			t.Errorf("spent %d; work that ran is paid", spent)
		}
		if diff := cmp.Diff([]fleet.EventType{fleet.AgentSpawned, fleet.AgentCancelled}, b.events.types()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestStopBeforeItRan(t *testing.T) {
	t.Parallel()
	var ran atomic.Int32
	run := func(ctx context.Context, job fleet.Job, report fleet.Report) error {
		ran.Add(1)
		return hang(ctx, job, report)
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		b.spawn(request())
		synctest.Wait()
		waiting := b.spawn(request())
		b.want(b.settled(waiting.ID), fleet.Proposed)
		if _, err := b.Stop(t.Context(), fleet.Scope{All: true}, waiting.ID); err != nil {
			t.Fatalf("Stop: %v", err)
		}
		if spent := b.spent(); spent != 4000 {
			t.Errorf("spent %d, want the charge released", spent)
		}
		if err := b.Delete(t.Context(), owner(), waiting.ID); err != nil {
			t.Errorf("Delete: %v", err)
		}
		if _, err := b.Task(t.Context(), owner(), waiting.ID); !errors.Is(err, fleet.ErrNotFound) || ran.Load() != 1 {
			t.Errorf("Task after Delete: %v, %d runs", err, ran.Load())
		}
	}, func(c *fleet.Config) { c.Workers = 1 })
}

func TestStopWhileRetrying(t *testing.T) {
	t.Parallel()
	var ran atomic.Int32
	run := func(context.Context, fleet.Job, fleet.Report) error { ran.Add(1); return errOuch }
	inBubble(t, run, func(t *testing.T, b *bundle) {
		task := b.spawn(request())
		b.want(b.settled(task.ID), fleet.Retrying)
		if _, err := b.Stop(t.Context(), owner(), task.ID); err != nil {
			t.Fatalf("Stop: %v", err)
		}
		b.pass(time.Hour)
		b.want(b.settled(task.ID), fleet.Cancelled)
		if ran.Load() != 1 || b.spent() != 0 {
			t.Errorf("%d runs, %d spent", ran.Load(), b.spent())
		}
	})
}

func TestUnknownTasks(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		for _, id := range []string{"", "x", "0190b4a0-0000-7000-8000-000000000000", "{0190b4a0-0000-7000-8000-00000000000}", strings.Repeat("a", 1000)} {
			_, task := b.Task(t.Context(), owner(), id)
			_, logs := b.Logs(t.Context(), owner(), id, 1)
			_, stop := b.Stop(t.Context(), owner(), id)
			_, advance := b.Advance(t.Context(), owner(), id, fleet.Ready)
			for call, err := range map[string]error{
				"Task": task, "Logs": logs, "Stop": stop, "Advance": advance, "Delete": b.Delete(t.Context(), owner(), id),
			} {
				if !errors.Is(err, fleet.ErrNotFound) {
					t.Errorf("%s(%q): %v, want ErrNotFound", call, id, err)
				}
			}
		}
	})
}

func TestDeleteWhileRunning(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		var conflict *fleet.ConflictError
		if err := b.Delete(t.Context(), owner(), task.ID); !errors.As(err, &conflict) || conflict.Status != fleet.Running {
			t.Errorf("Delete: %v, want a conflict", err)
		}
	})
}

func TestLogLinesAreClampedAndMany(t *testing.T) {
	t.Parallel()
	run := func(_ context.Context, _ fleet.Job, report fleet.Report) error {
		for i := range 1000 {
			report.Log(strconv.Itoa(i))
		}
		report.Log(strings.Repeat("\xff", 3*fleet.MaxLogLine))
		return nil
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		task := b.settled(b.spawn(request()).ID)
		for asked, want := range map[int]int{0: 200, -3: 200, 7: 7, 1 << 30: 1001} {
			lines, err := b.Logs(t.Context(), owner(), task.ID, asked)
			if err != nil || len(lines) != want || len(lines[want-1]) > fleet.MaxLogLine {
				t.Errorf("Logs(%d): %d lines, %v; want %d", asked, len(lines), err, want)
			}
		}
		if lines, err := b.Logs(t.Context(), owner(), task.ID, 1000); err != nil || lines[0] != "1" || lines[998] != "999" {
			t.Errorf("lines are out of order: %v", err)
		}
	})
}

// TestKeptTextIsSmall reports much text, of which little is kept, and looks for the rest in the heap.
func TestKeptTextIsSmall(t *testing.T) { //nolint:paralleltest // What others have in the heap would count.
	const texts, size = 16, 4 << 20
	run := func(_ context.Context, _ fleet.Job, report fleet.Report) error {
		report.Started(strings.Repeat("r", size))
		for range texts {
			report.Log("a line\n" + strings.Repeat("x", size))
		}
		return nil
	}
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		before := heap()
		task := b.settled(b.spawn(request()).ID)
		b.want(task, fleet.Completed)
		lines := b.log(task.ID)
		if after := heap(); after > before+size/2 {
			t.Errorf("the heap grew by %d KiB", (after-before)>>10)
		}
		if len(lines) != 2*texts || lines[0] != "a line" || len(lines[1]) != fleet.MaxLogLine || len(task.Reference) != 128 {
			t.Errorf("%d lines, a reference of %d bytes", len(lines), len(task.Reference))
		}
	})
}

func TestWorkersAreBounded(t *testing.T) {
	t.Parallel()
	inBubble(t, hang, func(t *testing.T, b *bundle) {
		for range 3 {
			b.spawn(request())
		}
		synctest.Wait()
		overview, err := b.Status(t.Context(), owner())
		if err != nil {
			t.Fatalf("Status: %v", err)
		}
		counts := make(map[fleet.Status]int)
		for _, task := range overview.Tasks {
			counts[task.Status]++
		}
		if counts[fleet.Running] != 2 || counts[fleet.Proposed] != 1 {
			t.Errorf("states %v, want two at work", counts)
		}
		health, err := b.Health(t.Context())
		if want := (fleet.Health{Total: 3, Active: 3}); err != nil || health != want {
			t.Errorf("Health: %+v, %v; want %+v", health, err, want)
		}
	}, func(c *fleet.Config) { c.Workers = 2 })
}

// TestLateReportsDoNothing keeps a report beyond its run.
func TestLateReportsDoNothing(t *testing.T) {
	t.Parallel()
	var late fleet.Report
	run := func(_ context.Context, _ fleet.Job, report fleet.Report) error {
		late = report
		report.PullRequest(3)
		return nil
	}
	inBubble(t, run, func(t *testing.T, b *bundle) {
		before := b.settled(b.spawn(request()).ID)
		late.Log("late")
		late.Started("late")
		late.PullRequest(4)
		b.pass(time.Minute)
		if diff := cmp.Diff(before, b.get(before.ID)); diff != "" || len(b.log(before.ID)) != 0 {
			t.Errorf("late reports left %q (-want +got):\n%s", b.log(before.ID), diff)
		}
	})
}

func TestDefaultRetryDelay(t *testing.T) {
	t.Parallel()
	run := func(_ context.Context, job fleet.Job, _ fleet.Report) error {
		if job.Task.Attempt == 1 {
			return errOuch
		}
		return nil
	}
	inBubble(t, run, func(_ *testing.T, b *bundle) {
		task := b.spawn(request())
		b.pass(30*time.Second - time.Millisecond)
		b.want(b.get(task.ID), fleet.Retrying)
		b.pass(time.Second)
		b.want(b.get(task.ID), fleet.Completed)
	}, func(c *fleet.Config) { c.RetryDelay = nil })
}
