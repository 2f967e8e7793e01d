package spansanitizer

import "strings"

// What makes a number in groups that of a card, an account, a telephone or an address.
const (
	groupsDigits      = 10
	groupsPhoneDigits = 9
	groupsHex         = 20
	// maxAccountGroups is how many groups of four an account (IBAN) may have.
	maxAccountGroups = 8
)

// groupsLength is the length of the number in groups with which s begins, or 0: words of digits, or of hexadecimal
// digits with a digit in each, with one blank between them. What is too short for a secret is none.
func groupsLength(s string) int {
	if n := accountLength(s); n > 0 {
		return n
	}
	plus := strings.HasPrefix(s, "+")
	at, groups, hexadecimals := 0, 0, 0
	if plus {
		at = 1
	}
	// The groups before the first that is not of decimal digits only.
	hexEnd, decimalEnd, decimalGroups, decimals := 0, 0, 0, 0
	for {
		word := s[at : at+wordLength(s[at:])]
		core := strings.TrimRight(word, ".:")
		digits, ok := countGroup(core)
		if !ok {
			break
		}
		at += len(core)
		if digits == len(core) && decimalGroups == groups {
			decimalEnd, decimalGroups, decimals = at, decimalGroups+1, decimals+digits
		}
		groups, hexadecimals = groups+1, hexadecimals+len(core)
		if groups >= 2 && hexadecimals >= groupsHex {
			hexEnd = at
		}
		if core != word || at+1 >= len(s) || s[at] != ' ' {
			break
		}
		at++
	}
	switch {
	case hexEnd > 0:
		return hexEnd
	case decimalGroups >= 3 && decimals >= groupsDigits, plus && decimalGroups >= 2 && decimals >= groupsPhoneDigits:
		return decimalEnd
	default:
		return 0
	}
}

// countGroup counts the digits of a group, which has hexadecimal digits only and one digit at least.
func countGroup(s string) (digits int, ok bool) {
	for i := range len(s) {
		if !isHexDigit(s[i]) {
			return 0, false
		}
		if isDigit(s[i]) {
			digits++
		}
	}
	return digits, digits > 0
}

// accountLength is the length of the account (IBAN) in groups of four with which s begins, or 0.
func accountLength(s string) int {
	if len(s) < 4 || !isLetter(s[0]) || !isLetter(s[1]) || !isDigit(s[2]) || !isDigit(s[3]) {
		return 0
	}
	end, groups, digits := 4, 0, 2
	for groups < maxAccountGroups && end+1 < len(s) && s[end] == ' ' {
		n := 0
		for at := end + 1; at < len(s) && (isDigit(s[at]) || isLetter(s[at])); at++ {
			n++
		}
		if n == 0 || n > 4 {
			break
		}
		count := countDigits(s[end+1 : end+1+n])
		if n < 4 && count == 0 {
			break // The next word.
		}
		groups, digits, end = groups+1, digits+count, end+1+n
		if n < 4 {
			break
		}
	}
	if groups < 3 || digits < groupsDigits {
		return 0
	}
	return end
}
