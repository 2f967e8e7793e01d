package postgres_test

import (
	"context"
	"strings"
	"testing"

	"dixie/fleet"
	"dixie/fleet/fleettest"
	"dixie/fleet/postgres"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	fleettest.Run(t, func(t *testing.T) fleet.Store {
		t.Helper()
		return open(t, server.Migrated(t), postgres.Config{})
	})
}

func TestConformanceOfEvents(t *testing.T) {
	t.Parallel()
	fleettest.RunEvents(t, func(t *testing.T, publish func(context.Context, fleet.Event) error) fleet.Store {
		t.Helper()
		return open(t, server.Migrated(t), postgres.Config{Publish: publish})
	})
}

// TestLogIsDropped looks at what is stored of a log, which is a batch more than is shown at most.
func TestLogIsDropped(t *testing.T) {
	t.Parallel()
	const batches, lines = 30, 500
	url := server.Migrated(t)
	pool, store := connect(t, url), open(t, url, postgres.Config{})
	for _, line := range []string{"short", strings.Repeat("x", fleet.MaxLogLine)} {
		in := proposal(alice)
		if _, err := store.Admit(t.Context(), in, limited); err != nil {
			t.Fatal(err)
		}
		target := fleet.Target{Scope: everyone(), ID: in.Task.ID, Attempt: 1}
		for range batches {
			if err := store.AppendLog(t.Context(), target, strings.Split(strings.Repeat(line+"\n", lines), "\n")); err != nil {
				t.Fatal(err)
			}
		}
		var kept, size int
		err := pool.QueryRow(t.Context(), `SELECT sum(cardinality(lines)), sum(octet_length(array_to_string(lines, '')))
			FROM fleet_task_log WHERE task_id = $1`, in.Task.ID).Scan(&kept, &size)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d lines of %d bytes were appended; %d lines, %d bytes are stored", batches*lines, len(line), kept, size)
		if kept > fleet.MaxLogLines+2*lines || size > 2*fleet.MaxLogBytes {
			t.Errorf("%d lines, %d bytes are stored", kept, size)
		}
	}
}
