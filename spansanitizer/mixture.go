package spansanitizer

// class is what mix counts of a character.
type class int

const (
	noClass class = iota
	lowerCase
	upperCase
	decimal
	classes
)

func classOf(c byte) class {
	switch {
	case isDigit(c):
		return decimal
	case c >= 'a' && c <= 'z':
		return lowerCase
	case c >= 'A' && c <= 'Z':
		return upperCase
	default:
		return noClass
	}
}

// mix counts how often the classes take turns in a row: every other time in base64, seldom in a word with a number.
type mix struct {
	length, turns int
	last          class
	seen          [classes]bool
}

// add counts a character, which has no class if it is a mark of base64, and tells whether the row is a secret by now:
// it is long, has digits and letters, and classes that take turns once in four characters.
func (m *mix) add(c class) bool {
	m.length++
	m.seen[c] = true
	if c != noClass && c != m.last {
		if m.last != noClass {
			m.turns++
		}
		m.last = c
	}
	letters := m.seen[lowerCase] || m.seen[upperCase]
	if m.seen[noClass] {
		// Words with marks between them, such as x509-sha256-rsa4096, are seldom of both.
		letters = m.seen[lowerCase] && m.seen[upperCase]
	}
	return m.length >= secretMix && letters && m.seen[decimal] && m.turns*4 > m.length
}

// hasMix tells whether there is a row of 16 letters and digits or more that take turns, as in base64 or a random id. The
// marks of base64 may be within it.
func hasMix(s string) bool {
	var letters, marked mix
	for i := range len(s) {
		c := classOf(s[i])
		switch {
		case c != noClass:
			if letters.add(c) || marked.add(c) {
				return true
			}
		case s[i] == '+' || s[i] == '/' || s[i] == '_' || s[i] == '-':
			letters = mix{}
			marked.add(c)
		default:
			letters, marked = mix{}, mix{}
		}
	}
	return false
}
