package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// withdrawPace is how often what could not be taken out is tried again.
const withdrawPace = time.Second

// errEnded is why nothing is asked any more.
var errEnded = errors.New("e2e: the run has ended")

// made is what a run has put into the service and not taken out again.
type made struct {
	once  sync.Once
	ended chan struct{} // Closed by Withdraw.

	// making is held for reading while something is made, so that Withdraw hears of all of it.
	making sync.RWMutex

	mu   sync.Mutex
	undo [][]Request // GUARDED_BY(mu), in the order in which it was made.
}

// Make asks as [Service.Want] for something that stays in the service. undo is told the answer, or that there was
// none (status 0), and says how to take it out again, for [Service.Withdraw]; its last request is the one that a
// test gives to [Service.TakeOut].
func (s *Service) Make(t testing.TB, status int, r Request, undo func(Answer) []Request) Answer {
	t.Helper()
	a, err := s.makeAndNote(context.WithoutCancel(t.Context()), r, undo)
	return a.want(t, status, err)
}

func (s *Service) makeAndNote(ctx context.Context, r Request, undo func(Answer) []Request) (Answer, error) {
	s.made.making.RLock()
	defer s.made.making.RUnlock()
	waiting, stop := s.untilEnded(ctx)
	defer stop()
	if s.hasEnded() {
		return Answer{service: s, request: r}, errEnded
	}
	// What is on its way when the run ends is waited for: else nobody knew whether it arrived.
	a, err := s.ask(ctx, waiting, r)
	if refused := a.Status >= 400 && a.Status < 500; refused {
		return a, err
	}
	if requests := undo(a); len(requests) > 0 {
		s.made.mu.Lock()
		s.made.undo = append(s.made.undo, requests)
		s.made.mu.Unlock()
	}
	return a, err
}

// TakeOut asks for what [Service.Make] has put in to be taken out. Once the run has ended it does nothing: then
// [Service.Withdraw] does it.
func (s *Service) TakeOut(t testing.TB, r Request) {
	t.Helper()
	if s.hasEnded() {
		return
	}
	s.Want(t, http.StatusOK, r)
	s.made.mu.Lock()
	defer s.made.mu.Unlock()
	s.made.undo = slices.DeleteFunc(s.made.undo, func(requests []Request) bool {
		last := requests[len(requests)-1]
		return last.Method == r.Method && last.Path == r.Path
	})
}

// Withdraw ends the run: requests of tests fail from now on, and what they have put into the service is taken out
// of it, the newest first. While the service does not answer, as in a restart, it tries again until ctx ends. The
// error names what is still there.
func (s *Service) Withdraw(ctx context.Context) error {
	s.made.once.Do(func() { close(s.made.ended) })
	s.made.making.Lock()
	defer s.made.making.Unlock()
	s.made.mu.Lock()
	left := s.made.undo
	s.made.undo = nil
	s.made.mu.Unlock()
	var problems []error
	for _, requests := range slices.Backward(left) {
		for _, r := range requests {
			problems = append(problems, s.takeBack(ctx, r))
		}
	}
	return errors.Join(problems...)
}

func (s *Service) takeBack(ctx context.Context, r Request) error {
	for {
		a, err := s.exchange(ctx, r)
		pause := max(withdrawPace, a.retryAfter())
		switch a.Status {
		case http.StatusOK, http.StatusNotFound:
			return nil
		case http.StatusConflict: // A task that has ended cannot be stopped, and one that ends not yet be deleted.
			if r.Method != http.MethodDelete {
				return nil
			}
		case http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Errorf("e2e: still there: %s", a)
		}
		if err == nil {
			err = fmt.Errorf("the status is %d", a.Status)
		}
		if dead := s.alive(); dead != nil {
			return fmt.Errorf("e2e: still there: %s %s: %w", r.Method, r.Path, dead)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("e2e: still there: %s %s: %w", r.Method, r.Path, err)
		}
	}
}

func (s *Service) hasEnded() bool {
	select {
	case <-s.made.ended:
		return true
	default:
		return false
	}
}

// untilEnded is a context that ends with the run, too.
func (s *Service) untilEnded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.made.ended:
			cancel(errEnded)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
