//go:build linux || darwin

package processrunner

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dixie/fleet"
)

const (
	// readSize is how much output is taken at a time.
	readSize = 32 << 10
	// maxPipe is how much a pipe holds at most, after whoever writes to it has enlarged it.
	maxPipe = 1 << 20
)

// output is both streams of a command on the way to the log. One goroutine uses it.
type output struct {
	report  fleet.Report
	pattern *regexp.Regexp
	lines   *fleet.LineWriter
	left    int // Bytes that may still reach the log.

	full        bool // The log has been told that no more will reach it.
	pullRequest bool // One was reported.
	outOfMemory bool // A line said so.
}

func newOutput(cfg Config, report fleet.Report) *output {
	o := &output{report: report, pattern: cfg.PullRequest, left: cfg.MaxOutput}
	o.lines = fleet.NewLineWriter(o.line)
	return o
}

// copy takes what the command writes until nobody has the pipe's other end, or its deadline passes, and
// then what the pipe holds: a reader that comes late loses nothing. Somebody who goes on writing is not
// waited for.
func (o *output) copy(pipe *os.File) {
	defer func() { _ = o.lines.Close() }() // It does not fail.
	buffer := make([]byte, readSize)
	for {
		n, err := pipe.Read(buffer)
		_, _ = o.lines.Write(buffer[:n]) // It does not fail.
		if err != nil {
			break
		}
	}
	// After the deadline Read gives nothing; the descriptor itself does not block.
	_ = pipe.SetReadDeadline(time.Time{})
	conn, err := pipe.SyscallConn()
	for left := maxPipe; err == nil && left > 0; {
		n := 0
		err = conn.Read(func(descriptor uintptr) bool {
			n, _ = syscall.Read(int(descriptor), buffer)
			return true
		})
		if n <= 0 {
			break
		}
		_, _ = o.lines.Write(buffer[:n]) // It does not fail.
		left -= n
	}
}

func (o *output) line(line string) {
	o.keep(line)
	if text := strings.ToLower(line); strings.Contains(text, "out of memory") || strings.Contains(text, "oomkilled") {
		o.outOfMemory = true
	}
	if o.pattern == nil || o.pullRequest {
		return
	}
	if found := o.pattern.FindStringSubmatch(line); found != nil {
		if number, err := strconv.Atoi(found[1]); err == nil && number > 0 {
			o.pullRequest = true
			o.report.PullRequest(number)
		}
	}
}

// keep writes a line to the log, or as much of it as the log still takes. A command must not stall
// because it talks too much: what comes later is dropped.
func (o *output) keep(line string) {
	switch {
	case o.full:
	case len(line) < o.left: // The line break counts too.
		o.left -= len(line) + 1
		o.report.Log(line)
	default:
		o.full = true
		if o.left > 0 {
			o.report.Log(line[:o.left])
		}
		o.report.Log("[fleet] further output is not kept")
	}
}
