package spansanitizer

import "strings"

const (
	redacted        = "[REDACTED]"
	redactedAddress = "0x" + redacted

	// maxErrorText bounds a sanitised text, in bytes.
	maxErrorText = 256
	// maxErrorInput bounds how much of a text is looked at.
	maxErrorInput = 2048
	// maxPasses bounds how often a text is masked: the marks of one pass may close a quotation for the next.
	maxPasses = 4
)

// ErrorText returns a text without what looks like an address, a key, a token, an e-mail address, a network
// address or a quotation, of 256 bytes at most and in valid UTF-8. It cannot know a secret that looks like
// ordinary words: what a client sent belongs into an error's text only in quotation marks, as %q puts it.
// The time that it takes grows with the length of the text and no faster.
func ErrorText(s string) string {
	if isPlainText(s) {
		return s
	}
	for range maxPasses {
		masked := maskText(s)
		if masked == s {
			return s
		}
		s = masked
	}
	// What still changes was made to be difficult.
	return redacted
}

func maskText(s string) string {
	cut := len(s) > maxErrorInput
	if cut {
		s = s[:maxErrorInput]
	}
	m := mask{text: strings.ToValidUTF8(s, "?"), cut: cut}
	m.out.Grow(min(len(s), maxErrorText))
	for !m.full && m.at < len(m.text) {
		m.step()
	}
	return m.out.String()
}

// mask goes through a text piece by piece: a mark that was left by it, a quotation, a separator or a word. What it wrote
// falls into the same pieces again, but for quotations in single marks, which may be apostrophes.
type mask struct {
	text string
	at   int
	out  strings.Builder
	// cut says that the text went on: its last word may be the beginning of a secret.
	cut bool
	// full says that the next piece had no room.
	full bool
	// expected says that the next word is a credential, because the last one said so.
	expected bool
}

func (m *mask) step() {
	rest := m.text[m.at:]
	switch {
	case strings.HasPrefix(rest, redacted):
		m.secret(len(redacted), redacted)
	case strings.HasPrefix(rest, redactedAddress):
		m.secret(len(redactedAddress), redactedAddress)
	case rest[0] == '"':
		m.secret(closing(rest), `"`+redacted+`"`)
	case rest[0] == '`':
		m.secret(closing(rest), "`"+redacted+"`")
	case rest[0] == '\'' && isQuotation(rest):
		m.secret(closing(rest), "'"+redacted+"'")
	case isSeparator(rest[0]):
		m.write(1, rest[:1])
	default:
		m.word(rest[:wordLength(rest)])
	}
}

// write puts text in the place of n bytes, all or nothing.
func (m *mask) write(n int, text string) {
	if m.out.Len()+len(text) > maxErrorText {
		m.full = true
		return
	}
	m.out.WriteString(text)
	m.at += n
}

// secret is write for what was masked: a credential is expected no more.
func (m *mask) secret(n int, text string) {
	m.expected = false
	m.write(n, text)
}

// word writes a word, or a mark for it.
func (m *mask) word(word string) {
	if begin, end := findAddress(word); begin >= 0 {
		// What is before and behind it are words of their own.
		if begin > 0 {
			m.word(word[:begin])
			return
		}
		m.secret(end, redactedAddress)
		return
	}
	if m.cut && m.at+len(word) == len(m.text) {
		m.secret(len(word), redacted)
		return
	}
	core := strings.TrimRight(word, ".:")
	tail := word[len(core):]
	switch {
	case isScheme(core):
		m.expected = true
		m.write(len(word), word)
	case isCredentialName(core):
		m.expected = strings.Contains(tail, ":") || m.at+len(word) < len(m.text) && m.text[m.at+len(word)] == '='
		m.write(len(word), word)
	case core == "":
		m.write(len(word), word)
	case m.expected || isSecret(core):
		m.secret(len(core), redacted)
	default:
		m.write(len(word), word)
	}
}

// isSeparator tells what words do not contain.
func isSeparator(c byte) bool {
	return c <= ' ' || strings.IndexByte("<>()[]{},;=|", c) >= 0
}

// wordLength is how long the word is with which s begins.
func wordLength(s string) int {
	for i := range len(s) {
		if isSeparator(s[i]) || s[i] == '"' || s[i] == '`' || s[i] == '0' && strings.HasPrefix(s[i:], redactedAddress) {
			return i
		}
	}
	return len(s)
}

// closing is the length of the quotation with which s begins. One that is not closed goes on to the end.
func closing(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] == '"':
			i++
		case s[i] == s[0]:
			return i + 1
		}
	}
	return len(s)
}

// isQuotation tells a quotation in single marks from an apostrophe: it is closed soon, before a separator.
func isQuotation(s string) bool {
	end := closing(s[:min(len(s), maxErrorText)])
	return end > 1 && s[end-1] == '\'' && (end == len(s) || isSeparator(s[end]) || s[end] == ':' || s[end] == '.')
}

// isScheme tells whether a credential follows a word without more ado.
func isScheme(s string) bool { return strings.EqualFold(s, "bearer") || strings.EqualFold(s, "basic") }

// isCredentialName tells whether a credential follows a word behind a colon or an equals sign.
func isCredentialName(s string) bool {
	if len(s) < len("token") || len(s) > maxNameLength {
		return false
	}
	lower := strings.ToLower(s)
	if strings.IndexByte("dtreny", lower[len(lower)-1]) < 0 {
		return false // None of them ends in this letter.
	}
	for _, name := range []string{"password", "passwd", "secret", "signature", "authorization", "token", "apikey", "api_key", "api-key"} {
		// Such as x-api-key, but not dxk_password.
		if strings.HasSuffix(lower, name) && !isSecret(s) {
			return true
		}
	}
	return false
}
