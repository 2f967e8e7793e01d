package spansanitizer

import "strings"

// The rows of characters from which on a word in an error's text is a secret.
const (
	// secretAddress is more than a pointer has, as Go prints it.
	secretAddress = 12
	secretDigits  = 9
	secretHex     = 24
	secretID      = 20
	secretRun     = 32
	// secretMix is for letters and digits that take turns.
	secretMix = 16
	// secretKey is what follows the beginning of a well-known key.
	secretKey = 12
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
	if len(s) < secretMix && strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz") == "" {
		return strings.Contains(lower, "eyj") // A short word of letters, as most are.
	}
	for _, mark := range []string{"@", "dxk_", "wst_", "eyj"} {
		if strings.Contains(lower, mark) {
			return true
		}
	}
	return hasEscapedAt(lower) || isENSName(lower) || isKnownKey(lower) || isShortenedAddress(lower) ||
		hasSecretRow(lower) || hasDottedRow(lower) || hasMix(s) || isToken(lower)
}

// hasEscapedAt tells whether there is an @ as a URL, JSON or HTML has it, also escaped more than once.
func hasEscapedAt(s string) bool {
	for i := strings.IndexByte(s, '%'); i >= 0; {
		rest := s[i+1:]
		for strings.HasPrefix(rest, "25") {
			rest = rest[2:]
		}
		if strings.HasPrefix(rest, "40") {
			return true
		}
		next := strings.IndexByte(s[i+1:], '%')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return strings.Contains(s, `\u0040`) || strings.Contains(s, `\x40`) || strings.Contains(s, "&#64") ||
		strings.Contains(s, "&#x40") || strings.Contains(s, "&commat")
}

// isENSName tells whether a part of s between dots is eth, and not the first.
func isENSName(s string) bool {
	for {
		_, rest, ok := strings.Cut(s, ".eth")
		if !ok {
			return false
		}
		if rest == "" || !isLetter(rest[0]) && !isDigit(rest[0]) {
			return true
		}
		s = rest
	}
}

// isKnownKey tells whether a part of s begins as the keys of a well-known service do.
func isKnownKey(s string) bool {
	for _, prefix := range []string{
		"akia", "aiza", "sk-", "sk_live_", "sk_test_", "pk_live_", "rk_live_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_",
		"github_pat_", "glpat-", "xoxb-", "xoxp-", "xapp-", "whsec_",
	} {
		for at := strings.Index(s, prefix); at >= 0; {
			rest := s[at+len(prefix):]
			begins := at == 0 || !isLetter(s[at-1]) && !isDigit(s[at-1])
			if begins && keyLength(rest) >= secretKey {
				return true
			}
			next := strings.Index(rest, prefix)
			if next < 0 {
				break
			}
			at += len(prefix) + next
		}
	}
	return false
}

// keyLength is how long the key is with which s begins.
func keyLength(s string) int {
	for i := range len(s) {
		if !isLetter(s[i]) && !isDigit(s[i]) && s[i] != '-' && s[i] != '_' {
			return i
		}
	}
	return len(s)
}

// isShortenedAddress tells whether there is an address of which the middle is left out, such as 0xf39f…2266.
func isShortenedAddress(s string) bool {
	const shortest = 3
	for rest, ok := s, true; ok; {
		if _, rest, ok = strings.Cut(rest, "0x"); !ok {
			break
		}
		middle := strings.TrimLeft(rest, "0123456789abcdef")
		end := strings.TrimLeft(middle, ".…")
		if len(rest)-len(middle) >= shortest && len(middle)-len(end) >= 2 &&
			len(end)-len(strings.TrimLeft(end, "0123456789abcdef")) >= shortest {
			return true
		}
	}
	return false
}

// hasSecretRow looks for rows of one kind of character.
func hasSecretRow(s string) bool {
	var digits, hexadecimals, run int
	var id, joined row
	for i := range len(s) {
		c := s[i]
		digit, hexadecimal := isDigit(c), isHexDigit(c)
		digits = count(digits, digit)
		hexadecimals = count(hexadecimals, hexadecimal)
		run = count(run, digit || isLetter(c) || strings.IndexByte("+/_-", c) >= 0)
		id.add(hexadecimal || c == '-', digit, false)
		joined.add(digit || c == '-' || c == '/', digit, false)
		if digits >= secretDigits || hexadecimals >= secretHex || run >= secretRun ||
			id.length >= secretID && id.digits >= 6 || joined.digits >= secretDigits {
			return true
		}
	}
	return false
}

// hasDottedRow looks for a network address of version 4 or 6, and for a long number with dots in it.
func hasDottedRow(s string) bool {
	var four, six row
	for i := range len(s) {
		c := s[i]
		four.add(isDigit(c) || c == '.', isDigit(c), c == '.')
		six.add(isHexDigit(c) || c == ':', isDigit(c) || c == ':', c == ':')
		if four.marks >= 3 && four.digits >= 4 || four.marks >= 2 && four.digits >= secretDigits ||
			six.marks >= 2 && six.digits >= 3 {
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
