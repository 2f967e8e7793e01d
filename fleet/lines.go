package fleet

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// LineWriter cuts a stream of text into lines and hands each to a function, without its line break. A
// line that grows over [MaxLogLine] bytes is handed on in pieces. It is an io.Writer whose writes never
// fail, and not safe for concurrent use. Close hands on what is left.
type LineWriter struct {
	emit    func(line string)
	pending []byte
}

// NewLineWriter returns a writer that calls emit for each line.
func NewLineWriter(emit func(line string)) *LineWriter { return &LineWriter{emit: emit} }

// Write takes a piece of the stream.
func (w *LineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if end := bytes.IndexByte(p, '\n'); end >= 0 && len(w.pending)+end <= MaxLogLine {
			w.pending = append(w.pending, p[:end]...)
			w.flush()
			p = p[end+1:]
			continue
		}
		room := min(len(p), MaxLogLine-len(w.pending))
		w.pending = append(w.pending, p[:room]...)
		p = p[room:]
		if len(w.pending) == MaxLogLine && len(p) > 0 && p[0] != '\n' {
			w.flushPiece()
		}
	}
	return n, nil
}

// Close hands on a last line that has no line break. The writer can be used again.
func (w *LineWriter) Close() error {
	if len(w.pending) > 0 {
		w.flush()
	}
	return nil
}

func (w *LineWriter) flush() {
	w.emit(strings.TrimSuffix(string(w.pending), "\r"))
	w.pending = w.pending[:0]
}

// flushPiece hands on a full buffer, but keeps a character that is not whole yet.
func (w *LineWriter) flushPiece() {
	end := len(w.pending)
	for i := end - 1; i > end-utf8.UTFMax; i-- {
		if !utf8.RuneStart(w.pending[i]) {
			continue
		}
		if !utf8.FullRune(w.pending[i:]) {
			end = i
		}
		break
	}
	w.emit(string(w.pending[:end]))
	w.pending = append(w.pending[:0], w.pending[end:]...)
}

// logLines turns any text into lines that a store takes: valid, without control characters, each at
// most [MaxLogLine] bytes. No line keeps the text alive that it is a part of: kept lines are counted by
// their own length.
func logLines(text string) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		line = strings.ToValidUTF8(cut(line, MaxLogLine, ""), "\uFFFD")
		line = strings.Map(func(r rune) rune {
			if r != '\t' && unicode.IsControl(r) {
				return -1
			}
			return r
		}, line)
		// Replacing what is not valid can make a line longer.
		line = cut(line, MaxLogLine, "")
		if len(line) < len(text) {
			line = strings.Clone(line)
		}
		lines[i] = line
	}
	return lines
}
