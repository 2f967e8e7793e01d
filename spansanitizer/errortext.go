package spansanitizer

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

// The event and the attributes under which an error is recorded. An event of another name, and every other
// attribute of it, is left out.
const (
	ExceptionEvent   = "exception"
	ExceptionType    = "exception.type"
	ExceptionMessage = "exception.message"
)

const (
	redacted        = "[REDACTED]"
	redactedAddress = "0x" + redacted

	// maxErrorText bounds a sanitised text, in bytes.
	maxErrorText = 256
	// maxErrorInput bounds how much of a text is looked at: masking never makes it shorter than the
	// longest text from much more than this.
	maxErrorInput = 4096
	// maxPasses bounds how often the mask is applied: masking may bring together what was apart.
	maxPasses = 4
)

// sensitive matches what an error text must not say. Address comes first and is the only group, since it
// has a replacement of its own.
var sensitive = regexp.MustCompile(strings.Join([]string{
	// Addresses, private keys and transaction hashes.
	`(0[xX][0-9a-fA-F]{16,})`,
	// Quotations: this is how Go's %q, url.Error and JSON's errors show foreign text. An open one goes on
	// to the end.
	`"(?:[^"\\]|\\.)*(?:"|\\?$)`,
	"`[^`]*(?:`|$)",
	// API keys and tickets.
	`(?i:dxk|wst)_[^\s"]*`,
	// Tokens: anything with a JSON header, and three long parts with dots between them.
	`eyJ[A-Za-z0-9_.=+/-]*`,
	`[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`,
	// Credentials that say what they are.
	`(?i:bearer|basic)\s+[^\s"]+`,
	`(?i:passwd|password|secret|signature|authorization|api[_-]?key)\s*[=:]\s*[^\s"]+`,
	// E-mail addresses, and credentials in an URL.
	`[^\s"<>@]*@[^\s"<>@]*`,
	// Network addresses: of clients, too, in the errors of a connection.
	`[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]+)?`,
	`\[?[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:%[A-Za-z0-9]+)?(?:\]:[0-9]+)?`,
	// Long numbers, hexadecimal digits, ids and everything else that is too long for a word.
	`[0-9]{9,}`,
	`[0-9a-fA-F]{24,}`,
	`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F-]*`,
	`[A-Za-z0-9+/_=-]{32,}`,
}, "|"))

// ErrorText returns a text without what looks like an address, a key, a token, an e-mail address, a network
// address or a quotation, of 256 bytes at most and in valid UTF-8. It cannot know a secret that looks like
// ordinary words: what a client sent belongs into an error's text only in quotation marks, as %q puts it.
func ErrorText(s string) string {
	if isPlainText(s) {
		return s
	}
	cut := len(s) > maxErrorInput
	if cut {
		s = s[:maxErrorInput]
	}
	s = strings.ToValidUTF8(s, "?")
	if cut {
		// The last word may be the beginning of something.
		s = s[:max(strings.LastIndexAny(s, " \t\n"), 0)]
		if s == "" {
			return redacted
		}
	}
	for range maxPasses {
		masked := mask(s)
		if masked == s {
			return s
		}
		s = masked
	}
	// What still changes is made to be difficult.
	return redacted
}

// maxPlainWord is shorter than anything that sensitive matches without a mark of its own.
const maxPlainWord = 13

// isPlainText tells, much faster than the pattern could, that it matches nothing: the text is short, of short words and
// numbers, with spaces between them.
func isPlainText(s string) bool {
	if len(s) > maxErrorText {
		return false
	}
	word, digits := 0, 0
	for i := range len(s) {
		c := s[i]
		switch {
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
		if word > maxPlainWord || digits > maxDigits {
			return false
		}
	}
	lower := strings.ToLower(s)
	for _, mark := range []string{"eyj", "bearer", "basic", "passw", "secret", "signature", "authorization", "key"} {
		if strings.Contains(lower, mark) {
			return false
		}
	}
	return true
}

// mask replaces what is sensitive, and cuts.
func mask(s string) string {
	s = sensitive.ReplaceAllStringFunc(s, func(found string) string {
		switch {
		case len(found) > 2 && found[0] == '0' && (found[1] == 'x' || found[1] == 'X') && isMadeOfHex(found[2:]):
			return redactedAddress
		case found[0] == '"':
			return `"` + redacted + `"`
		default:
			return redacted
		}
	})
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "")
	}
	return s
}

func isMadeOfHex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }

// errorText is the sanitised text of an error, whatever its Error method does.
func errorText(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = "the error has no text"
		}
	}()
	return ErrorText(err.Error())
}

// errorType is the Go type of the error at the end of the chain: those before it only add words.
func errorType(err error) string {
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return typeText(fmt.Sprintf("%T", err))
}

// typeText is the name of a Go type, or [Other].
func typeText(s string) string {
	if isMadeOf(s, "._*/[]") && !looksSensitive(s) {
		return s
	}
	return Other
}

// AppendEvent appends to dst what an event may carry, and tells whether it may leave at all: the record of an error
// may, with the error's type and its sanitised text.
func (p *Policy) AppendEvent(dst []attribute.KeyValue, span, event string, attrs []attribute.KeyValue) ([]attribute.KeyValue, bool) {
	if event != ExceptionEvent || listOf(span) == nil {
		return dst, false
	}
	dst = slices.Grow(dst, 2)
	var kind, message string
	for _, kv := range attrs {
		if kv.Value.Type() != attribute.STRING {
			continue
		}
		switch kv.Key {
		case ExceptionType:
			kind = typeText(kv.Value.AsString())
		case ExceptionMessage:
			message = ErrorText(kv.Value.AsString())
		}
	}
	if kind != "" {
		dst = append(dst, attribute.String(ExceptionType, kind))
	}
	if message != "" {
		dst = append(dst, attribute.String(ExceptionMessage, message))
	}
	return dst, true
}

// StatusText returns what the status of a span may say: the sanitised text, or nothing if the span is not known.
func (p *Policy) StatusText(span, text string) string {
	if text == "" || listOf(span) == nil {
		return ""
	}
	return ErrorText(text)
}
