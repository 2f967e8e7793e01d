package spansanitizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

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

// ErrorText returns a text without what looks like an address, a key, a token, a credential behind its name, an e-mail
// address, a network address, the number of a card, an account or a telephone (with its country's code, or in three
// groups), a name of ENS or a quotation, of 256 bytes at most and in valid UTF-8. The same text comes out when it is
// given what it returned. The time that it takes grows with the length of the text and no faster.
//
// It cannot know a secret that looks like ordinary text: a person's or a host's name, a path, a prompt, a password in a
// sentence ("the password is swordfish") or behind an escaped mark (%3D), a number of up to eight digits. Of a quotation in a quotation it knows the
// end only if its marks are escaped. What a client sent belongs into an error's text only in quotation marks, as %q
// puts it.
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
	m := mask{text: plainCharacters(strings.ToValidUTF8(s, "?")), cut: cut}
	m.out.Grow(min(len(s), maxErrorText))
	for !m.full && m.at < len(m.text) {
		m.step()
	}
	return m.out.String()
}

// plainCharacters replaces what only looks different: blanks, quotation marks and full-width letters by those of ASCII.
// Characters that cannot be seen are left out. The text does not grow.
func plainCharacters(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return s[:i] + strings.Map(plainCharacter, s[i:])
		}
	}
	return s
}

func plainCharacter(r rune) rune {
	const firstWide, lastWide, distance = 0xff01, 0xff5e, 0xff01 - '!'
	switch {
	case r < utf8.RuneSelf:
		return r
	case r >= firstWide && r <= lastWide:
		return r - distance
	case unicode.Is(unicode.Cf, r):
		return -1
	case unicode.IsSpace(r):
		return ' '
	}
	switch r {
	case '“', '”', '„', '‟', '«', '»', '‹', '›', '「', '」', '『', '』', '〝', '〞', '〟':
		return '"'
	case '‘', '’', '‚', '‛':
		return '\''
	case '‐', '‑', '‒', '–', '−', '﹣':
		return '-'
	case '﹫':
		return '@'
	default:
		return r
	}
}

// mask goes through a text piece by piece: a mark that was left by it, a quotation, a separator, a number in groups or
// a word. What it wrote falls into the same pieces again, but for quotations in single marks, which may be apostrophes.
type mask struct {
	text string
	at   int
	out  strings.Builder
	// cut says that the text went on: its last word may be the beginning of a secret.
	cut bool
	// full says that the next piece had no room.
	full bool
	// apostrophes says that no single mark that is still to come closes a quotation.
	apostrophes bool
	// expected is what the words before say about the next one.
	expected expectation
	// near is for how many words more the name of a credential counts as near.
	near int
}

// expectation is what a word may be, because of what is before it.
type expectation int

const (
	anything expectation = iota
	// credential follows a scheme, or a name and a colon, unless it is a name itself: "bad token: signature ...".
	credential
	// value follows an equals sign, or a colon without a blank, and is a credential whatever it looks like.
	value
)

// nearWords is how far behind the name of a credential a word of letters and digits is held to be one.
const nearWords = 2

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
	case rest[0] == '\'' && m.quotation(rest) > 0:
		m.secret(m.quotation(rest), "'"+redacted+"'")
	case isSeparator(rest[0]):
		m.write(1, rest[:1])
	default:
		if n := groupsLength(rest); n > 0 {
			m.secret(n, redacted)
			return
		}
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
	m.expected, m.near = anything, 0
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
	switch {
	case core == "":
		m.write(len(word), word)
	case isSecret(core):
		m.secret(len(core), redacted)
	case isScheme(core):
		m.expected = credential
		m.write(len(word), word)
	default:
		m.name(word, core)
	}
}

// name writes a word that is no secret by itself, but may be the name of one, or be one because of a name before it.
func (m *mask) name(word, core string) {
	if n := headerLength(word); n > 0 && m.header(n) {
		return
	}
	// A name with its value behind a colon.
	for i := range len(core) {
		if core[i] == ':' && kindOfName(core[:i]) != noName {
			m.expected = value
			m.write(i+1, word[:i+1])
			return
		}
	}
	kind, mark := kindOfName(core), byte(0)
	if kind != noName {
		mark = m.markBehind(word)
	}
	isName := kind != noName && (m.expected != value || mark == '=')
	switch {
	case isName:
		m.expected = anything
		if kind != shortName {
			m.near = nearWords
		}
		switch {
		case mark == '=':
			m.expected = value
		case mark == ':' && kind == strongName:
			m.expected = credential
		}
		m.write(len(word), word)
	case m.expected != anything, m.near > 0 && isMixed(core):
		m.secret(len(core), redacted)
	default:
		m.near = max(m.near-1, 0)
		m.write(len(word), word)
	}
}

// header writes the name of a header, of n bytes with its colon, and a mark for all that follows in its line, if there is
// anything.
func (m *mask) header(n int) bool {
	line, _, _ := strings.Cut(m.text[m.at+n:], "\n")
	if strings.TrimSpace(line) == "" {
		return false
	}
	m.secret(n+len(line), m.text[m.at:m.at+n]+" "+redacted)
	return true
}

// markBehind is the equals sign or the colon behind a word, at its end or after blanks, or 0.
func (m *mask) markBehind(word string) byte {
	if strings.HasSuffix(word, ":") {
		return ':'
	}
	rest := strings.TrimLeft(m.text[m.at+len(word):], " \t")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		return rest[0]
	}
	return 0
}

// quotation is the length of the quotation in single marks with which s begins, or 0 if the mark is an apostrophe: a
// quotation is closed before a separator.
func (m *mask) quotation(s string) int {
	if m.apostrophes {
		return 0
	}
	for i := 1; i < len(s); i++ {
		if s[i] == '\'' && (i+1 == len(s) || isSeparator(s[i+1]) || strings.IndexByte(":.!?", s[i+1]) >= 0) {
			return i + 1
		}
	}
	if m.cut {
		return len(s)
	}
	m.apostrophes = true
	return 0
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
