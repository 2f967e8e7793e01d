package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/e2e"
)

// asked notes requests.
type asked struct {
	mu   sync.Mutex
	text []string // GUARDED_BY(mu)
}

// note returns how often the same was asked before.
func (a *asked) note(r *http.Request) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	text := r.Method + " " + r.URL.Path
	before := 0
	for _, other := range a.text {
		if other == text {
			before++
		}
	}
	a.text = append(a.text, text)
	return before
}

func (a *asked) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.text)
}

func post(path string) e2e.Request { return e2e.Request{Method: http.MethodPost, Path: path} }

func takeOut(path string) e2e.Request { return e2e.Request{Method: http.MethodDelete, Path: path} }

// undoing says how to take something out again, whatever the answer was.
func undoing(requests ...e2e.Request) func(e2e.Answer) []e2e.Request {
	return func(e2e.Answer) []e2e.Request { return requests }
}

// TestWithdraw: what was made and not taken out is taken out, the newest first, and nothing is made any more.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	var requests asked
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		before := requests.note(r)
		switch {
		case r.URL.Path == "/refused":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/task/stop", r.URL.Path == "/task" && before == 0:
			w.WriteHeader(http.StatusConflict) // It has ended already; it is not at its end yet.
		case r.URL.Path == "/gone":
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Path == "/locked" && r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	s.Make(t, http.StatusOK, post("/wallet"), undoing(takeOut("/wallet")))
	s.Make(t, http.StatusForbidden, post("/refused"), undoing(takeOut("/refused")))
	s.Make(t, http.StatusOK, post("/kept"), undoing(takeOut("/kept")))
	s.TakeOut(t, takeOut("/kept"))
	s.Make(t, http.StatusOK, post("/made"), undoing(takeOut("/gone")))
	s.Make(t, http.StatusOK, post("/locked"), undoing(takeOut("/locked")))
	s.Make(t, http.StatusOK, post("/spawn"), undoing(post("/task/stop"), takeOut("/task")))
	before := len(requests.all())
	err := s.Withdraw(t.Context())
	if err == nil || strings.Count(err.Error(), "still there") != 1 || !strings.Contains(err.Error(), "/locked") {
		t.Errorf("what is still there: %v", err)
	}
	want := []string{"POST /task/stop", "DELETE /task", "DELETE /task", "DELETE /locked", "DELETE /gone", "DELETE /wallet"}
	if diff := cmp.Diff(want, requests.all()[before:]); diff != "" {
		t.Errorf("requests (-want +got)\n%s", diff)
	}
	before = len(requests.all())
	for _, refused := range []func(testing.TB){
		func(tb testing.TB) {
			tb.Helper()
			s.Make(tb, http.StatusOK, post("/wallet"), undoing(takeOut("/wallet")))
		},
		func(tb testing.TB) { tb.Helper(); s.Want(tb, http.StatusOK, post("/chat")) },
	} {
		if report := failure(t, refused); !strings.Contains(report, "the run has ended") {
			t.Errorf("after the end: %s", report)
		}
	}
	s.TakeOut(t, takeOut("/wallet"))
	if err := s.Withdraw(t.Context()); err != nil || len(requests.all()) != before {
		t.Errorf("once more: %v, %q", err, requests.all()[before:])
	}
}

// TestWithdrawWaits: for what is being made when the run ends, and for a service that is in a restart.
func TestWithdrawWaits(t *testing.T) {
	t.Parallel()
	var requests asked
	arrived, chatting, answer := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		before := requests.note(r)
		switch {
		case r.URL.Path == "/chat":
			close(chatting)
			<-r.Context().Done()
		case r.Method == http.MethodPost:
			close(arrived)
			<-answer
		case before == 0:
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	var running sync.WaitGroup
	running.Go(func() { s.Make(t, http.StatusOK, post("/wallet"), undoing(takeOut("/wallet"))) })
	running.Go(func() {
		report := failure(t, func(tb testing.TB) { tb.Helper(); s.Want(tb, http.StatusOK, post("/chat")) })
		if !strings.Contains(report, "the run has ended") {
			t.Errorf("the chat was not cut off: %s", report)
		}
		close(answer)
	})
	<-arrived
	<-chatting
	if err := s.Withdraw(t.Context()); err != nil {
		t.Error(err)
	}
	running.Wait()
	if all := requests.all(); len(all) != 4 || all[3] != "DELETE /wallet" {
		t.Errorf("requests: %q", all)
	}
}

// TestWithdrawGivesUp: at the limit, and when there is no service any more.
func TestWithdrawGivesUp(t *testing.T) {
	t.Parallel()
	for name, dead := range map[string]error{"limit": nil, "ended": errors.New("dixie has ended")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := e2e.NewService(e2e.ServiceConfig{URL: "http://127.0.0.1:1", AdminKey: "k", Alive: func() error { return dead }})
			if err != nil {
				t.Fatal(err)
			}
			failure(t, func(tb testing.TB) {
				tb.Helper()
				s.Make(tb, http.StatusOK, post("/wallet"), undoing(takeOut("/wallet"))) // It may have arrived.
			})
			limit := time.Minute
			if dead == nil {
				limit = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			err = s.Withdraw(ctx)
			if err == nil || !strings.Contains(err.Error(), "still there: DELETE /wallet") || dead != nil && !errors.Is(err, dead) {
				t.Errorf("the error: %v", err)
			}
			if dead != nil && ctx.Err() != nil {
				t.Error("it has waited for a service that has ended")
			}
		})
	}
}

// TestWaitHealthyStops: nobody waits for a process that has ended.
func TestWaitHealthyStops(t *testing.T) {
	t.Parallel()
	ended := errors.New("staging-server has ended: exit status 1")
	s, err := e2e.NewService(e2e.ServiceConfig{
		URL: "http://127.0.0.1:1", AdminKey: "k", Alive: func() error { return ended },
		Logs: func(context.Context) string { return "DIXIE_ENV is wrong" },
	})
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	_, _, err = s.WaitHealthy(t.Context(), "", e2e.StartLimit)
	if took := time.Since(started); !errors.Is(err, ended) || took > e2e.StartLimit/4 {
		t.Errorf("after %s: %v", took, err)
	}
	for _, shown := range []string{"> GET http://127.0.0.1:1/readyz", "connection refused", "DIXIE_ENV is wrong"} {
		if err != nil && !strings.Contains(err.Error(), shown) {
			t.Errorf("%q is not in\n%v", shown, err)
		}
	}
}

// TestProcessStart reads the metrics with the admin key.
func TestProcessStart(t *testing.T) {
	t.Parallel()
	text := "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.79590153412e+09\n"
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" && r.Header.Get("Authorization") == "Bearer admin-secret" {
			_, _ = fmt.Fprint(w, text)
		}
	})
	if began, _ := s.ProcessStart(t); began != 1795901534.12 {
		t.Errorf("it began at %f", began)
	}
	without := fake(t, func(http.ResponseWriter, *http.Request) {})
	report := failure(t, func(tb testing.TB) { tb.Helper(); without.ProcessStart(tb) })
	for _, shown := range []string{"no process_start_time_seconds", "GET " + without.URL() + "/metrics", "the last line"} {
		if !strings.Contains(report, shown) {
			t.Errorf("%q is not in\n%s", shown, report)
		}
	}
}
