package fleet_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
)

// permitted is the machine, written down a second time: rows are where from, words are where to.
func permitted() map[fleet.Status]string {
	return map[fleet.Status]string{
		fleet.Proposed:  "spawning failed cancelled",
		fleet.Spawning:  "running failed cancelled",
		fleet.Running:   "pr_created completed failed cancelled",
		fleet.PRCreated: "reviewing failed cancelled",
		fleet.Reviewing: "ready rejected cancelled",
		fleet.Ready:     "merged cancelled",
		fleet.Merged:    "",
		fleet.Failed:    "retrying abandoned",
		fleet.Retrying:  "spawning abandoned cancelled",
		fleet.Abandoned: "",
		fleet.Rejected:  "retrying abandoned",
		fleet.Completed: "",
		fleet.Cancelled: "",
	}
}

func TestEveryTransition(t *testing.T) {
	t.Parallel()
	if len(permitted()) != len(fleet.Statuses()) {
		t.Fatalf("%d states, want %d", len(fleet.Statuses()), len(permitted()))
	}
	for _, from := range fleet.Statuses() {
		targets := strings.Fields(permitted()[from])
		for _, to := range fleet.Statuses() {
			want := false
			for _, target := range targets {
				want = want || target == string(to)
			}
			if got := fleet.CanTransition(from, to); got != want {
				t.Errorf("%s -> %s: %v, want %v", from, to, got, want)
			}
			var conflict *fleet.ConflictError
			err := fleet.Transition(from, to)
			if refused := errors.As(err, &conflict); refused == want || refused && (conflict.Status != from || conflict.Target != to) {
				t.Errorf("Transition(%s, %s) = %v", from, to, err)
			}
		}
		if fleet.CanTransition("nonsense", from) || fleet.CanTransition(from, "nonsense") {
			t.Errorf("an unknown state and %s are connected", from)
		}
	}
}

func TestPredicates(t *testing.T) {
	t.Parallel()
	type row struct{ Active, Terminal, Succeeded, CanStop, CanDelete bool }
	ended, failed := row{Terminal: true, CanDelete: true}, row{}
	active := row{Active: true, CanStop: true}
	succeeded := row{Terminal: true, Succeeded: true, CanDelete: true}
	want := map[fleet.Status]row{
		fleet.Proposed: active, fleet.Spawning: active, fleet.Running: active, fleet.PRCreated: active,
		fleet.Reviewing: active, fleet.Ready: active, fleet.Retrying: active,
		fleet.Merged: succeeded, fleet.Completed: succeeded,
		fleet.Abandoned: ended, fleet.Cancelled: ended,
		fleet.Failed: failed, fleet.Rejected: failed, "nonsense": {},
	}
	got := make(map[fleet.Status]row)
	for s := range want {
		got[s] = row{s.Active(), s.Terminal(), s.Succeeded(), s.CanStop(), s.CanDelete()}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("predicates (-want +got):\n%s", diff)
	}
}

func TestMove(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	first := fleet.Task{Status: fleet.Proposed, History: []fleet.Passage{{Status: fleet.Proposed, At: at}}}
	got, err := first.Move(at.Add(time.Second), fleet.Spawning, fleet.Running)
	if err != nil {
		t.Fatalf("Move: %v", err)
	}
	if got, err = got.Move(at.Add(time.Minute), fleet.Completed); err != nil {
		t.Fatalf("Move: %v", err)
	}
	want := fleet.Task{
		Status: fleet.Completed, UpdatedAt: at.Add(time.Minute),
		SpawnedAt: at.Add(time.Second), CompletedAt: at.Add(time.Minute),
		History: []fleet.Passage{
			{Status: fleet.Proposed, At: at}, {Status: fleet.Spawning, At: at.Add(time.Second)},
			{Status: fleet.Running, At: at.Add(time.Second)}, {Status: fleet.Completed, At: at.Add(time.Minute)},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("moved task (-want +got):\n%s", diff)
	}
	if len(first.History) != 1 || first.Status != fleet.Proposed {
		t.Errorf("Move changed its receiver: %+v", first)
	}
	var conflict *fleet.ConflictError
	if _, err := got.Move(at, fleet.Cancelled); !errors.As(err, &conflict) {
		t.Errorf("Move out of a terminal state: %v, want a conflict", err)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	task := fleet.Task{Status: fleet.Proposed}
	for range 100 {
		moved, err := task.Move(time.Now(), fleet.Spawning, fleet.Failed, fleet.Retrying)
		if err != nil {
			t.Fatalf("Move: %v", err)
		}
		task = moved
	}
	if n := len(task.History); n != 128 || task.History[n-1].Status != fleet.Retrying {
		t.Errorf("%d passages, the last %v", n, task.History[n-1])
	}
}

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		retries      int
		jitter, want time.Duration
	}{
		{0, 0, 30 * time.Second},
		{0, 999 * time.Millisecond, 30*time.Second + 999*time.Millisecond},
		{1, 500 * time.Millisecond, 60*time.Second + 500*time.Millisecond},
		{2, 0, 120 * time.Second},
		{2, 999 * time.Millisecond, 120 * time.Second},
		{10, 999 * time.Millisecond, 120 * time.Second},
		{1 << 40, 0, 120 * time.Second},
	} {
		if got := fleet.RetryDelay(c.retries, c.jitter); got != c.want {
			t.Errorf("RetryDelay(%d, %v) = %v, want %v", c.retries, c.jitter, got, c.want)
		}
	}
}

func TestScope(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scope    fleet.Scope
		operator string
		want     bool
	}{
		{fleet.Scope{Operator: "a"}, "a", true},
		{fleet.Scope{Operator: "a"}, "b", false},
		{fleet.Scope{}, "", false},
		{fleet.Scope{All: true}, "b", true},
	} {
		if got := c.scope.Includes(c.operator); got != c.want {
			t.Errorf("%+v includes %q: %v, want %v", c.scope, c.operator, got, c.want)
		}
	}
}
