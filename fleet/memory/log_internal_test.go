package memory

import "testing"

// TestRingDoesNotGrow keeps a log of ten lines while a million pass through it.
func TestRingDoesNotGrow(t *testing.T) {
	t.Parallel()
	var log ring
	for range 1_000_000 {
		log.add("line")
		if log.len() > 10 {
			log.drop()
		}
	}
	if log.len() != 10 || log.text != 10*len("line") || cap(log.lines) > 64 {
		t.Errorf("%d lines, %d bytes, room for %d lines", log.len(), log.text, cap(log.lines))
	}
}
