package spansanitizer

import "strings"

// The rows of characters from which on a word in an error's text is a secret.
const (
	secretAddress = 16
	secretDigits  = 9
	secretHex     = 24
	secretID      = 20
	secretRun     = 32
)

// findAddress returns where in s there is 0x and many hexadecimal digits, or -1.
func findAddress(s string) (begin, end int) {
	for i := 0; i+1 < len(s); i++ {
		if s[i] != '0' || s[i+1] != 'x' && s[i+1] != 'X' {
			continue
		}
		end := i + 2
		for end < len(s) && isHexDigit(s[end]) {
			end++
		}
		if end-i-2 >= secretAddress {
			return i, end
		}
		// The last digit may be the 0 of the next.
		i = end - 2
	}
	return -1, 0
}

// isSecret tells whether a word looks like a key, a token, an e-mail address, a network address, an id, or anything else
// that is no word.
func isSecret(s string) bool {
	if len(s) > maxNameLength {
		return true
	}
	lower := strings.ToLower(s)
	if len(s) < secretAddress && strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz") == "" {
		return strings.Contains(lower, "eyj") // A short word of letters, as most are.
	}
	for _, mark := range []string{"@", "%40", "dxk_", "wst_", "eyj"} {
		if strings.Contains(lower, mark) {
			return true
		}
	}
	return hasSecretRow(lower) || isToken(lower)
}

// hasSecretRow looks for rows of one kind of character.
func hasSecretRow(s string) bool {
	var digits, hexadecimals, run int
	var id, four, six row
	for i := range len(s) {
		c := s[i]
		digit, hexadecimal := isDigit(c), isHexDigit(c)
		digits = count(digits, digit)
		hexadecimals = count(hexadecimals, hexadecimal)
		run = count(run, digit || isLetter(c) || strings.IndexByte("+/_-", c) >= 0)
		id.add(hexadecimal || c == '-', digit, false)
		four.add(digit || c == '.', digit, c == '.')
		six.add(hexadecimal || c == ':', digit || c == ':', c == ':')
		if digits >= secretDigits || hexadecimals >= secretHex || run >= secretRun ||
			id.length >= secretID && id.digits >= 6 ||
			four.marks >= 3 && four.digits >= 4 || six.marks >= 2 && six.digits >= 3 {
			return true
		}
	}
	return false
}

// row counts in a row of characters.
type row struct{ length, digits, marks int }

func (r *row) add(in, digit, mark bool) {
	if !in {
		*r = row{}
		return
	}
	r.length++
	if digit {
		r.digits++
	}
	if mark {
		r.marks++
	}
}

// isToken tells whether s is three parts or more with dots between them, of which the first two are long.
func isToken(s string) bool {
	first, rest, ok := strings.Cut(s, ".")
	second, _, more := strings.Cut(rest, ".")
	return ok && more && len(first) >= 8 && len(second) >= 8
}

func isHexDigit(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
