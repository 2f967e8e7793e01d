package chat

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dixie/finn"
)

// silentFinn is a backend that nothing is asked of.
type silentFinn struct{ Backend }

func (silentFinn) Send(context.Context, string, string) (finn.Turn, error) {
	return finn.Turn{Response: "x"}, nil
}

func newWorkers(t *testing.T) *Service {
	t.Helper()
	s, err := New(Config{Finn: silentFinn{}, Sessions: NewMemorySessions(0)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// waiting counts the workers that have nothing to do, and gives them something.
func (s *Service) waiting() int {
	for n := 0; ; n++ {
		select {
		case s.work <- func() {}:
		default:
			return n
		}
	}
}

func TestAWorkerLingers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorkers(t)
		ran := 0
		for range 10 {
			if !s.spawn(func() { ran++ }) {
				t.Fatal("a service that is open takes no work")
			}
			time.Sleep(workerIdle - time.Nanosecond) // fake clock
		}
		synctest.Wait()
		if ran != 10 {
			t.Errorf("%d of 10 functions ran", ran)
		}
		if n := s.waiting(); n != 1 {
			t.Errorf("%d workers for one function at a time", n)
		}
		time.Sleep(workerIdle) // fake clock
		synctest.Wait()
		if n := s.waiting(); n != 0 {
			t.Errorf("%d workers after an idle second", n)
		}
	})
}

func TestWorkDoesNotWaitForWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorkers(t)
		gate := make(chan struct{})
		var running atomic.Int32
		for range 50 {
			s.spawn(func() {
				running.Add(1)
				<-gate
			})
		}
		synctest.Wait()
		if running.Load() != 50 {
			t.Errorf("%d of 50 functions run at once", running.Load())
		}
		time.Sleep(10 * workerIdle) // fake clock; work may take longer than idleness.
		close(gate)
		synctest.Wait()
		if n := s.waiting(); n != 50 {
			t.Errorf("%d workers linger after 50 functions at once", n)
		}
		time.Sleep(workerIdle) // fake clock
		synctest.Wait()
		if n := s.waiting(); n != 0 {
			t.Errorf("%d workers after an idle second", n)
		}
	})
}

func TestCloseWaitsForWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorkers(t)
		done := false
		s.spawn(func() {
			<-s.life.Done()
			time.Sleep(time.Minute) // fake clock
			done = true
		})
		s.spawn(func() {}) // Its worker idles.
		synctest.Wait()
		start := time.Now()
		if err := s.Close(); err != nil || !done || time.Since(start) != time.Minute {
			t.Errorf("Close = %v after %v, done %v", err, time.Since(start), done)
		}
		if s.spawn(func() { t.Error("work after the end") }) {
			t.Error("a closed service takes work")
		}
	})
}

// TestAcceptedWorkRuns closes while work comes in: what was taken has run when Close returns.
func TestAcceptedWorkRuns(t *testing.T) {
	t.Parallel()
	for range 50 {
		s := newWorkers(t)
		var accepted, ran atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for s.spawn(func() { ran.Add(1) }) {
					if accepted.Add(1) > 200 {
						return
					}
				}
			})
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if accepted.Load() != ran.Load() {
			t.Fatalf("%d functions were taken, %d ran", accepted.Load(), ran.Load())
		}
	}
}

// TestLifelong: the context of an abandoned prompt has the values of its request, and ends with the service.
func TestLifelong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorkers(t)
		caller := finn.Caller{RequestID: "req-1", Wallet: "0xWALLET"}
		request, leave := context.WithCancel(finn.ContextWithCaller(t.Context(), caller))
		ctx, cancel := context.WithTimeout(lifelong{s.life, request}, time.Minute)
		defer cancel()
		leave()
		time.Sleep(time.Minute - time.Nanosecond) // fake clock
		if ctx.Err() != nil || finn.CallerFromContext(ctx) != caller {
			t.Errorf("when the caller has left: %v, %+v", ctx.Err(), finn.CallerFromContext(ctx))
		}
		if err := s.Close(); err != nil || !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("after the end: %v, Close = %v", ctx.Err(), err)
		}
	})
}
