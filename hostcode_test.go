package dixie_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dixie"
	"dixie/fleet"
	fleetmemory "dixie/fleet/memory"
	"dixie/internal/wallet"
	"dixie/reputation"
	"dixie/reputation/memory"
	"dixie/spansanitizer"
)

// textless is an error whose text cannot be asked for, as that of a nil pointer.
type textless struct{ secret string }

// Error implements error.
func (e textless) Error() string { panic(e.secret) } //nolint:forbidigo // This is what is tested.

// textlessStore records nothing.
type textlessStore struct{ reputation.Store }

// Apply implements reputation.Store.
func (textlessStore) Apply(context.Context, []reputation.Entry, reputation.Fold) ([]reputation.Outcome, error) {
	return nil, textless{"no text for " + string(wallet.TestAddress)}
}

// TestErrorsWithoutAText of a host's code end no process and no line of the log.
func TestErrorsWithoutAText(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	check := func(context.Context) error { return textless{"no text for " + string(wallet.TestAddress)} }
	s := start(t, nil, logInto(&log), dixie.WithReputation(dixie.ReputationConfig{Store: textlessStore{memory.New(0)}}),
		dixie.WithDependency(dixie.Dependency{Name: "own", Check: check, Required: true}))
	want(t, "health", s.do(http.MethodGet, "/api/health", "", ""), http.StatusOK, "")
	want(t, "ready", s.do(http.MethodGet, "/readyz", "", ""), http.StatusServiceUnavailable, "")
	recorded := s.do(http.MethodPost, "/api/reputation/a/events", s.token(), `{"type":"quality_signal","score":0.5}`)
	want(t, "an event", recorded, http.StatusServiceUnavailable, "")
	for message, at := range map[string]int{"does not answer": 0, "request": 1, "reputation events were not recorded": 0} {
		lines := linesOf(t, &log, message)
		if len(lines) <= at || lines[at]["error"] != "the error has no text" {
			t.Errorf("%s: %v", message, lines)
		}
	}
	if strings.Contains(log.String(), string(wallet.TestAddress)[2:]) {
		t.Error("the log tells what the panic was about")
	}
}

// TestWrappedErrorWithoutAText: package fmt asks for the text, and tells what the panic was about.
func TestWrappedErrorWithoutAText(t *testing.T) {
	t.Parallel()
	if got := spansanitizer.TextOf(fmt.Errorf("ask: %w", textless{"swordfish"})); strings.Contains(got, "swordfish") || !strings.HasPrefix(got, "ask: ") {
		t.Errorf("text %q", got)
	}
}

// quotingRelay is at no other replica, and complains about one text.
type quotingRelay struct{ about string }

// Publish implements dixie.TurnRelay.
func (r quotingRelay) Publish(_ context.Context, _ string, message []byte) (int, error) {
	if strings.Contains(string(message), r.about) {
		return 0, fmt.Errorf("the broker refuses %q", message)
	}
	return 1, nil
}

// Watch implements dixie.TurnRelay.
func (quotingRelay) Watch(context.Context, string, func([]byte)) (func(), error) {
	return func() {}, nil
}

// Watchers implements dixie.TurnRelay.
func (quotingRelay) Watchers(context.Context, string) (int, error) { return 1, nil }

// OnWatch implements dixie.TurnRelay.
func (quotingRelay) OnWatch(func(string)) func() { return func() {} }

// TestRelayThatQuotes a message in its error.
func TestRelayThatQuotes(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	s := start(t, nil, logInto(&log), dixie.WithChat(dixie.ChatConfig{Relay: quotingRelay{"marmalade"}}))
	token := s.token()
	id, _ := s.do(http.MethodPost, "/api/chat", token, `{"prompt":"hello"}`).field("sessionId").(string)
	want(t, "chat", s.do(http.MethodPost, "/api/chat", token, `{"sessionId":"`+id+`","prompt":"my diagnosis is marmalade"}`), http.StatusOK, "")
	const message = "chat relay failed: clients at other processes miss events"
	for tick := time.Tick(5 * time.Millisecond); linesOf(t, &log, message) == nil; {
		<-tick
	}
	if got := log.String(); strings.Contains(got, "marmalade") || !strings.Contains(got, "the broker refuses") {
		t.Errorf("log: %s", got)
	}
}

// TestCheckThatHangs costs each who asks its limit, and no metric; there is one of it, however many ask; and another is
// begun when it is over.
func TestCheckThatHangs(t *testing.T) {
	t.Parallel()
	m := newMeter(t)
	release := make(chan struct{})
	var asked atomic.Int64
	s := start(t, nil, m.option(), dixie.WithDependency(dixie.Dependency{Name: "own", Required: true, Check: func(context.Context) error {
		asked.Add(1)
		<-release
		return nil
	}}))
	var asking sync.WaitGroup
	asking.Go(func() { m.expect(`dixie_dependency_up{dependency="own"} 0`) })
	for range 3 {
		asking.Go(func() { want(t, "ready", s.do(http.MethodGet, "/readyz", "", ""), http.StatusServiceUnavailable, "") })
		asking.Go(func() { want(t, "health", s.do(http.MethodGet, "/api/health", "", ""), http.StatusOK, "") })
	}
	asking.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times at once", n)
	}
	close(release)
	for tick := time.Tick(5 * time.Millisecond); s.do(http.MethodGet, "/readyz", "", "").status != http.StatusOK; {
		<-tick
	}
}

// hangingTasks is a store of tasks that counts them as long as somebody waits.
type hangingTasks struct{ *fleetmemory.Store }

// Health implements fleet.Store.
func (hangingTasks) Health(ctx context.Context) (fleet.Health, error) {
	<-ctx.Done()
	return fleet.Health{}, context.Cause(ctx)
}

// TestGovernorThatHangs is told of, although its time is over then.
func TestGovernorThatHangs(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	s := start(t, nil, logInto(&log), dixie.WithFleet(dixie.FleetConfig{Store: hangingTasks{fleetmemory.New(fleetmemory.Config{})}}))
	got := s.do(http.MethodGet, "/api/health", "", "")
	if lines := linesOf(t, &log, "does not answer"); len(lines) != 1 || lines[0]["dependency"] != "fleet-governor" {
		t.Errorf("%d: %v", got.status, lines)
	}
}

// TestWriterWithoutFlush: a wrapper of the host's that hides what is below it holds a stream back, and does not cut it.
func TestWriterWithoutFlush(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	s := start(t, nil, logInto(&log))
	token := s.token()
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.handler.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
	}))
	defer outer.Close()
	wrapped := &service{t: t, url: outer.URL, client: s.client}
	for range 2 {
		got := wrapped.do(http.MethodPost, "/api/chat", token, `{"prompt":"hello there"}`, "Accept", "text/event-stream")
		if text := string(got.body); got.status != http.StatusOK ||
			strings.Count(text, "event: chunk") < 2 || strings.Count(text, "event: done") != 1 {
			t.Errorf("%d\n%s", got.status, text)
		}
	}
	const told = "streams are held back: a ResponseWriter around dixie cannot flush and has no Unwrap; said once"
	if lines := linesOf(t, &log, told); len(lines) != 1 {
		t.Errorf("%d lines of it", len(lines))
	}
}

// TestReasonsAreCounted: each reason that dixie gives itself for the failure of a task has a series.
func TestReasonsAreCounted(t *testing.T) {
	t.Parallel()
	m := newMeter(t)
	start(t, nil, m.option())
	series := m.series()
	reason := regexp.MustCompile(`Reason\w*(?: +=|:) "(\w+)"|{finn\.Err\w+, "(\w+)", (?:true|false)}`)
	found := 0
	for _, file := range []string{"fleet/task.go", "fleet/processrunner/run.go", "fleet/finnrunner/finnrunner.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range reason.FindAllSubmatch(source, -1) {
			found++
			line := fmt.Sprintf(`dixie_fleet_task_outcomes_total{outcome="failed",reason="%s%s"} 0`, match[1], match[2])
			if !slices.Contains(series, line) {
				t.Errorf("%s: no series %s", file, line)
			}
		}
	}
	if found != 24 { //nolint:mnd // As many as there are; another one changes it.
		t.Errorf("%d reasons in the source", found)
	}
}
