package spansanitizer

import "strings"

// The longest words and numbers of a plain text; no secret without a mark of its own is as short.
const (
	maxPlainWord   = 13
	maxPlainDigits = 8
)

// isPlainText tells, much faster than mask could, that there is nothing to mask: the text is short, of short words and
// numbers, with spaces between them, and of marks that mask has left.
func isPlainText(s string) bool {
	if len(s) > maxErrorText {
		return false
	}
	// A text that was masked before is a usual case in an exporter.
	if strings.Contains(s, redacted) {
		s = strings.ReplaceAll(strings.ReplaceAll(s, `"`+redacted+`"`, ""), redacted, "")
	}
	word, digits := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case isLetter(c), c == '-', c == '/':
			word, digits = word+1, 0
		case isDigit(c):
			word, digits = word+1, digits+1
		case c == ' ', c == '(', c == ')':
			word, digits = 0, 0
		case c == '.', c == ':', c == ',', c == ';':
			if i+1 < len(s) && s[i+1] != ' ' {
				return false
			}
			word, digits = 0, 0
		default:
			return false
		}
		if word > maxPlainWord || digits > maxPlainDigits {
			return false
		}
	}
	return !announcesSecret(strings.ToLower(s))
}

// announcesSecret tells whether one of the words is there that make the next one a secret, or the beginning of a token.
func announcesSecret(lower string) bool {
	for _, word := range []string{"eyj", "bearer", "basic", "passw", "secret", "signature", "authorization", "token", "key"} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}
