package fleettest

import (
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
)

func ledgerCases() []testCase {
	return []testCase{
		{"Ledger/a day ends at midnight UTC", ledgerDays},
		{"Ledger/a charge is released once", ledgerReleasesOnce},
		{"Ledger/a release is booked on the day of the charge", ledgerReleasesThatDay},
		{"Ledger/deleting keeps the cost", ledgerKeepsDeleted},
		{"Snapshot/counts active and recent tasks", snapshotCounts},
	}
}

func (b *bench) spent(operator string, at time.Time, want int64) {
	b.Helper()
	if got := b.snapshot(operator, at).SpentMicroUSD; got != want {
		b.Errorf("spent on %s = %d, want %d", at.Format(time.DateOnly), got, want)
	}
}

func ledgerDays(b *bench) {
	midnight := noon().Truncate(24 * time.Hour).Add(24 * time.Hour)
	b.admit(alice, midnight.Add(-time.Microsecond), 100)
	b.admit(alice, midnight, 30)
	b.admit(alice, midnight.Add(time.Hour), 4)
	b.spent(alice, midnight.Add(-time.Second), 100)
	b.spent(alice, midnight, 34)
	b.spent(alice, midnight.In(time.FixedZone("west", -8*3600)), 34)
	b.spent(alice, midnight.Add(24*time.Hour), 0)
	b.spent(bob, midnight, 0)
}

// release moves a task, gives its charge back, and does so a day after its last change.
func (b *bench) release(task fleet.Task, path ...fleet.Status) {
	b.Helper()
	_, err := b.store.Update(b.ctx, fleet.Target{Scope: everyone(), ID: task.ID}, func(t fleet.Task) (fleet.Change, error) {
		moved, err := t.Move(t.UpdatedAt.Add(24*time.Hour), path...)
		return fleet.Change{Task: moved, Release: true}, err
	})
	if err != nil {
		b.Fatalf("releasing: %v", err)
	}
}

func ledgerReleasesOnce(b *bench) {
	b.admit(alice, noon(), 100)
	task := b.admit(alice, noon(), 30)
	b.spent(alice, noon(), 130)
	b.release(task, fleet.Cancelled)
	b.spent(alice, noon(), 100)
	b.release(task)
	b.spent(alice, noon(), 100)
}

func ledgerReleasesThatDay(b *bench) {
	tomorrow := noon().Add(24 * time.Hour)
	task := b.admit(alice, noon(), 100)
	b.admit(alice, tomorrow, 30)
	b.release(task, fleet.Cancelled)
	b.spent(alice, tomorrow, 30)
	b.spent(alice, noon(), 0)
}

func ledgerKeepsDeleted(b *bench) {
	task := b.walk(b.admit(alice, noon(), 100), fleet.Spawning, fleet.Running, fleet.Completed)
	if err := b.store.Delete(b.ctx, only(alice), task.ID); err != nil {
		b.Fatalf("Delete: %v", err)
	}
	b.spent(alice, noon(), 100)
}

func snapshotCounts(b *bench) {
	b.admit(alice, noon().Add(-25*time.Hour), 1)
	b.walk(b.admit(alice, noon().Add(-23*time.Hour), 1), fleet.Spawning, fleet.Running, fleet.Completed)
	b.walk(b.admit(alice, noon().Add(-time.Hour), 1), fleet.Spawning, fleet.Failed)
	b.walk(b.admit(alice, noon().Add(-time.Hour), 1), fleet.Spawning, fleet.Failed, fleet.Retrying)
	b.walk(b.admit(alice, noon(), 1), fleet.Spawning, fleet.Running, fleet.PRCreated)
	b.admit(bob, noon(), 1)
	want := fleet.Snapshot{Active: 3, RecentTotal: 4, RecentActive: 2, SpentMicroUSD: 3}
	if diff := cmp.Diff(want, b.snapshot(alice, noon())); diff != "" {
		b.Errorf("snapshot (-want +got):\n%s", diff)
	}
}
