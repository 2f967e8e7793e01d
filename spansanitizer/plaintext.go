package spansanitizer

import "strings"

// The longest words and numbers of a plain text; no secret without a mark of its own is as short.
const (
	maxPlainWord = 13
	// maxPlainDigits bounds the digits of a word.
	maxPlainDigits = 8
	// maxPlainNumbers bounds the digits of a text.
	maxPlainNumbers = 9
)

// isPlainText tells, much faster than mask could, that there is nothing to mask: the text is short, of short words and
// numbers, with spaces between them, no two numbers one after the other, and of marks that mask has left.
func isPlainText(s string) bool {
	if len(s) > maxErrorText {
		return false
	}
	// A text that was masked before is a usual case in an exporter.
	if strings.Contains(s, redacted) {
		s = strings.ReplaceAll(strings.ReplaceAll(s, `"`+redacted+`"`, ""), redacted, "")
	}
	// The length of the word, its digits, those of the word before, and those of the text.
	word, digits, before, all := 0, 0, 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case isDigit(c):
			word, digits, all = word+1, digits+1, all+1
			if before > 0 || digits > maxPlainDigits || all > maxPlainNumbers {
				return false
			}
		case isLetter(c), c == '-', c == '/':
			word++
		case c == ' ', c == '(', c == ')':
			if word > 0 {
				word, digits, before = 0, 0, digits
			}
		case c == '.', c == ':', c == ',', c == ';':
			if i+1 < len(s) && s[i+1] != ' ' {
				return false
			}
			if word > 0 {
				word, digits, before = 0, 0, digits
			}
		default:
			return false
		}
		if word > maxPlainWord {
			return false
		}
	}
	return !announcesSecret(strings.ToLower(s))
}

// announcesSecret tells whether one of the words is there that make the next one a secret, or the beginning of a token.
func announcesSecret(lower string) bool {
	for _, word := range []string{
		"eyj", "bearer", "basic", "pass", "pwd", "secret", "signature", "authorization", "token", "key", "session", "cookie",
		"credential", "mnemonic",
	} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}
