package postgres

import (
	"strings"
	"testing"
	"time"

	"dixie/fleet"
)

// TestSetsOfStates compares the lists in the statements with the state machine.
func TestSetsOfStates(t *testing.T) {
	t.Parallel()
	for _, set := range []struct {
		name, list string
		has        func(fleet.Status) bool
	}{
		{"active", active, fleet.Status.Active},
		{"waiting", waiting, func(s fleet.Status) bool { return fleet.CanTransition(s, fleet.Spawning) }},
		{"ended", ended, fleet.Status.Terminal},
		// What a worker can lose.
		{"working", working, func(s fleet.Status) bool {
			_, err := fleet.Rescue(fleet.Task{Status: s, Attempt: 1}, time.Now())
			return err == nil
		}},
	} {
		var want []string
		for _, status := range fleet.Statuses() {
			if set.has(status) {
				want = append(want, "'"+string(status)+"'")
			}
		}
		if list := "(" + strings.Join(want, ", ") + ")"; set.list != list {
			t.Errorf("%s is %s, want %s", set.name, set.list, list)
		}
	}
}
