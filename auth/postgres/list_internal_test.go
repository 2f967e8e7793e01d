package postgres

import (
	"testing"

	"dixie/internal/auth"
)

// TestAnOlderReadingDoesNotCount: what was read before a change, and arrives after it, must not undo it.
func TestAnOlderReadingDoesNotCount(t *testing.T) {
	t.Parallel()
	version := func(n int64) *list { return &list{auth.NewAllowlistSnapshot(auth.AllowlistData{}), n} }
	first, changed := version(1), version(2)
	for name, tc := range map[string]struct {
		since, read *list
		replaces    bool
	}{
		"older, read meanwhile":       {first, version(1), false},
		"the same, read meanwhile":    {first, version(2), false},
		"newer, read meanwhile":       {first, version(3), true},
		"newer, read since":           {changed, version(3), true},
		"older, read since: restored": {changed, version(1), true},
	} {
		a := &Allowlist{}
		a.publish(nil, first)
		a.publish(first, changed)
		a.publish(tc.since, tc.read)
		if got := a.current.Load() == tc.read; got != tc.replaces {
			t.Errorf("%s: counts %v, want %v", name, got, tc.replaces)
		}
	}
}
