package fleettest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
)

func logCases() []testCase {
	return []testCase{
		{"Log/keeps order and returns the end", logOrder},
		{"Log/drops the oldest lines over the count", logLines},
		{"Log/drops the oldest lines over the size", logSize},
		{"Log/goes with its task", logDeleted},
	}
}

func (b *bench) appendLog(task fleet.Task, lines ...string) {
	b.Helper()
	if err := b.store.AppendLog(b.ctx, b.fence(task), lines); err != nil {
		b.Fatalf("AppendLog: %v", err)
	}
}

func (b *bench) log(task fleet.Task, n int) []string {
	b.Helper()
	lines, err := b.store.Log(b.ctx, only(task.Operator), task.ID, n)
	if err != nil {
		b.Fatalf("Log: %v", err)
	}
	return lines
}

func logOrder(b *bench) {
	task := b.admit(alice, noon(), 5)
	if lines := b.log(task, 10); len(lines) != 0 {
		b.Errorf("log of a new task = %q, want nothing", lines)
	}
	b.appendLog(task, "one", "", "three")
	b.appendLog(task)
	b.appendLog(task, "four — ☂")
	for n, want := range map[int][]string{
		10: {"one", "", "three", "four — ☂"}, 2: {"three", "four — ☂"}, 0: nil,
	} {
		if diff := cmp.Diff(want, append([]string(nil), b.log(task, n)...)); diff != "" {
			b.Errorf("last %d lines (-want +got):\n%s", n, diff)
		}
	}
}

func logLines(b *bench) {
	task := b.admit(alice, noon(), 5)
	const extra, batch = 500, 500
	for first := 0; first < fleet.MaxLogLines+extra; first += batch {
		lines := make([]string, batch)
		for i := range lines {
			lines[i] = fmt.Sprintf("line %d", first+i)
		}
		b.appendLog(task, lines...)
	}
	lines := b.log(task, 2*fleet.MaxLogLines)
	if len(lines) != fleet.MaxLogLines {
		b.Fatalf("%d lines, want %d", len(lines), fleet.MaxLogLines)
	}
	if want := fmt.Sprintf("line %d", extra); lines[0] != want {
		b.Errorf("oldest line %q, want %q", lines[0], want)
	}
	if want := fmt.Sprintf("line %d", fleet.MaxLogLines+extra-1); lines[len(lines)-1] != want {
		b.Errorf("newest line %q, want %q", lines[len(lines)-1], want)
	}
}

func logSize(b *bench) {
	task := b.admit(alice, noon(), 5)
	long := strings.Repeat("x", fleet.MaxLogLine-1)
	const lines = fleet.MaxLogBytes/fleet.MaxLogLine + 40
	for i := range lines {
		b.appendLog(task, string(rune('a'+i%26))+long)
	}
	kept := b.log(task, fleet.MaxLogLines)
	if want := fleet.MaxLogBytes / fleet.MaxLogLine; len(kept) != want {
		b.Errorf("%d long lines, want %d", len(kept), want)
	}
	if newest := kept[len(kept)-1][0]; newest != byte('a'+(lines-1)%26) {
		b.Errorf("newest line begins with %q", newest)
	}
}

func logDeleted(b *bench) {
	task := b.admit(alice, noon(), 5)
	b.appendLog(task, "one")
	task = b.walk(task, fleet.Cancelled)
	if diff := cmp.Diff([]string{"one"}, b.log(task, 10)); diff != "" {
		b.Errorf("log of an ended task (-want +got):\n%s", diff)
	}
	if err := b.store.Delete(b.ctx, only(alice), task.ID); err != nil {
		b.Fatalf("Delete: %v", err)
	}
	if _, err := b.store.Log(b.ctx, only(alice), task.ID, 10); !errors.Is(err, fleet.ErrNotFound) {
		b.Errorf("Log after Delete: %v, want ErrNotFound", err)
	}
}
