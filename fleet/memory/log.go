package memory

import (
	"context"

	"dixie/fleet"
)

// lineOverhead is what a line takes besides its text.
const lineOverhead = 16

// ring is a log: lines are added at its end and dropped from its front.
type ring struct {
	lines []string
	first int // Lines before it are dropped.
	text  int // Bytes of text in the others.
}

func (l *ring) len() int { return len(l.lines) - l.first }

func (l *ring) bytes() int { return l.text + lineOverhead*l.len() }

func (l *ring) add(line string) {
	l.lines = append(l.lines, line)
	l.text += len(line)
}

// drop forgets the oldest line and returns what that frees. The slice is moved up when half of it is dropped, so that a line costs
// constant time.
func (l *ring) drop() int {
	freed := len(l.lines[l.first])
	l.text -= freed
	l.lines[l.first] = ""
	l.first++
	if l.first > len(l.lines)/2 {
		n := copy(l.lines, l.lines[l.first:])
		clear(l.lines[n:])
		l.lines, l.first = l.lines[:n], 0
	}
	return freed + lineOverhead
}

// AppendLog implements [fleet.Logs].
func (s *Store) AppendLog(_ context.Context, target fleet.Target, lines []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.target(target)
	if err != nil {
		return err
	}
	for _, line := range lines {
		need := len(line) + lineOverhead
		fits := s.makeRoom(need)
		if s.records[r.task.ID] != r {
			return fleet.ErrNotFound // It has ended and made room itself.
		}
		for r.log.len() > 0 && (!fits || r.log.len() >= fleet.MaxLogLines || r.log.text+len(line) > fleet.MaxLogBytes) {
			s.bytes -= r.log.drop()
			fits = s.bytes+need <= s.cfg.MaxBytes
		}
		if fits {
			r.log.add(line)
			s.bytes += need
		}
	}
	return nil
}

// Log implements [fleet.Logs].
func (s *Store) Log(_ context.Context, scope fleet.Scope, id string, n int) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(scope, id)
	if err != nil {
		return nil, err
	}
	kept := r.log.lines[r.log.first:]
	return append([]string(nil), kept[max(0, len(kept)-max(0, n)):]...), nil
}
