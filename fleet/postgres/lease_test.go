package postgres_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"dixie/fleet"
	"dixie/fleet/postgres"
)

// TestSecondDelivery has River hand out an attempt that is at work.
func TestSecondDelivery(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	pool := connect(t, url)
	var runs atomic.Int32
	begun, end := make(chan struct{}, 10), make(chan struct{})
	runner := func(_ context.Context, _ fleet.Job, report fleet.Report) error {
		runs.Add(1)
		report.Started("here")
		begun <- struct{}{}
		<-end
		return nil
	}
	service, store := serve(t, url, quick(), runner)
	other, _ := serve(t, url, quick(), runner)
	start(t, service)
	start(t, other)
	id := admit(t, service)
	receive(t, begun)
	await(t, store, id, fleet.Running)
	mustExec(t, pool, `UPDATE river_job SET state = 'available', scheduled_at = now() WHERE kind = 'dixie_fleet_attempt'`)
	eventually(t, "the second delivery is over", func() bool {
		return count(t, pool, `SELECT count(*) FROM river_job WHERE state = 'completed'`) == 1
	})
	close(end)
	if task := await(t, store, id, fleet.Completed); task.Attempt != 1 || runs.Load() != 1 {
		t.Errorf("attempt %d, %d runs; want one", task.Attempt, runs.Load())
	}
	if left := count(t, pool, `SELECT count(*) FROM river_job`); left != 0 {
		t.Errorf("%d jobs are left of a task that has ended", left)
	}
}

// TestStoppedElsewhere stops a task in another process than the one that works on it.
func TestStoppedElsewhere(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	begun, causes := make(chan struct{}, 1), make(chan error, 1)
	service, store := serve(t, url, quick(), func(ctx context.Context, _ fleet.Job, report fleet.Report) error {
		report.Started("here")
		begun <- struct{}{}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return ctx.Err()
	})
	start(t, service)
	id := admit(t, service)
	receive(t, begun)
	other, _ := serve(t, url, quick(), absent)
	stopped := time.Now()
	if _, err := other.Stop(t.Context(), everyone(), id); err != nil {
		t.Fatal(err)
	}
	if cause := receive(t, causes); !errors.Is(cause, fleet.ErrStopped) {
		t.Errorf("cause %v, want ErrStopped", cause)
	}
	t.Logf("the worker noticed after %v (renewals every %v)", time.Since(stopped).Round(time.Millisecond), quick().RenewInterval)
	if task := await(t, store, id, fleet.Cancelled); task.Attempt != 1 {
		t.Errorf("attempt %d, want the first", task.Attempt)
	}
}

// absent is a runner that is never called.
func absent(context.Context, fleet.Job, fleet.Report) error { return errors.New("not here") }

// TestLostJob has attempts whose job of River is gone, or has died with its process.
func TestLostJob(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]string{
		"deleted":   `DELETE FROM river_job`,
		"discarded": `UPDATE river_job SET state = 'discarded', finalized_at = now()`,
		"handed out to a process that died": `UPDATE river_job SET state = 'running', attempt = 1,
			attempted_at = now() - interval '1 minute', attempted_by = '{nobody}'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := server.Migrated(t)
			service, store := serve(t, url, quick(), func(_ context.Context, _ fleet.Job, report fleet.Report) error {
				report.Started("here")
				return nil
			})
			id := admit(t, service)
			mustExec(t, connect(t, url), lose)
			start(t, service)
			if task := await(t, store, id, fleet.Completed); task.Attempt != 1 {
				t.Errorf("attempt %d, want the first", task.Attempt)
			}
		})
	}
}

// network cuts the connections of a pool off from the database.
type network struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		return nil, errors.New("no route")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, kind, address)
	if err == nil {
		n.conns = append(n.conns, conn)
	}
	return conn, err
}

func (n *network) set(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
	for _, conn := range n.conns {
		if cut {
			_ = conn.Close()
		}
	}
}

// TestCutOffWorker cuts a worker off from the database for longer than its lease.
func TestCutOffWorker(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	lines := &network{}
	poolCfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	poolCfg.ConnConfig.DialFunc = lines.dial
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), poolCfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	cfg := quick()
	cfg.Pool = pool
	alone, err := postgres.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	began, gaveUp := make(chan struct{}, 1), make(chan time.Time, 1)
	cutOff, err := fleet.New(fleet.Config{Store: alone, Policy: generous{}, Runner: fleet.RunnerFunc(
		func(ctx context.Context, _ fleet.Job, report fleet.Report) error {
			report.Started("cut off")
			began <- struct{}{}
			<-ctx.Done()
			gaveUp <- time.Now()
			if !errors.Is(context.Cause(ctx), fleet.ErrStopped) {
				t.Errorf("cause %v, want ErrStopped", context.Cause(ctx))
			}
			return ctx.Err()
		})})
	if err != nil {
		t.Fatal(err)
	}
	start(t, cutOff)
	id := admit(t, cutOff)
	receive(t, began)

	took := make(chan time.Time, 1)
	service, store := serve(t, url, quick(), func(_ context.Context, _ fleet.Job, report fleet.Report) error {
		took <- time.Now()
		report.Started("here")
		return nil
	})
	await(t, store, id, fleet.Running)
	start(t, service)
	lines.set(true)
	up, over := receive(t, gaveUp), receive(t, took)
	t.Logf("the worker that was cut off gave up %v before another one began", over.Sub(up).Round(time.Millisecond))
	if !up.Before(over) {
		t.Error("two workers acted at once")
	}
	if task := await(t, store, id, fleet.Completed); task.Attempt != 2 || task.RetryCount != 0 {
		t.Errorf("attempt %d, %d retries; want the second and none", task.Attempt, task.RetryCount)
	}
	lines.set(false)
}
