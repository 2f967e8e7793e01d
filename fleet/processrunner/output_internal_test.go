//go:build linux || darwin

package processrunner

import (
	"os"
	"strings"
	"testing"
	"time"

	"dixie/fleet"
)

// echo is a report that writes each line back to where it came from.
type echo struct {
	pipe  *os.File
	bytes int
}

func (*echo) Started(string)  {}
func (*echo) PullRequest(int) {}
func (e *echo) Log(text string) {
	n, _ := e.pipe.WriteString(text + "\n")
	e.bytes += n
}

// After the deadline, the pipe of somebody who writes faster than we read is never empty.
func TestCopyEndsThoughThePipeIsNeverEmpty(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatalf("Pipe: %v", err)
	}
	defer read.Close()
	defer write.Close()
	line := strings.Repeat("x", fleet.MaxLogLine/2)
	if _, err := write.WriteString(line + "\n"); err != nil {
		t.Fatalf("Write: %v", err)
	}
	if err := read.SetReadDeadline(time.Now()); err != nil {
		t.Fatalf("SetReadDeadline: %v", err)
	}
	report := &echo{pipe: write}
	newOutput(Config{MaxOutput: 100 * maxPipe}, report).copy(read)
	if report.bytes < maxPipe || report.bytes > maxPipe+2*fleet.MaxLogLine {
		t.Errorf("%d bytes were read after the deadline, want what a pipe may hold", report.bytes)
	}
}
