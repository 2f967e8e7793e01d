package spansanitizer

import "strings"

// nameKind tells what follows a word that names a credential.
type nameKind int

const (
	noName nameKind = iota
	// shortName is too common a word to say anything but with an equals sign, or a colon without a blank.
	shortName
	// weakName has a credential behind an equals sign or a colon without a blank. A colon with one is Go's way to go on:
	// "begin session: ...".
	weakName
	// strongName has one behind every colon.
	strongName
)

// kindOfName tells whether a word names a credential, such as x-api-key, by how it ends.
func kindOfName(s string) nameKind {
	if len(s) < len("pw") || len(s) > maxNameLength {
		return noName
	}
	lower := strings.ToLower(s)
	if strings.IndexByte("cdelnpstwy", lower[len(lower)-1]) < 0 {
		return noName // None of them ends in this letter.
	}
	kind := noName
	switch {
	case endsInOneOf(lower, "password", "passwd", "passphrase", "pwd", "secret", "signature", "authorization", "token",
		"apikey", "_key", "-key", "cookie", "credential", "mnemonic"):
		kind = strongName
	case endsInOneOf(lower, "key", "session", "credentials", "passcode"):
		kind = weakName
	default:
		switch strings.TrimLeft(lower, "-_/.?&#") {
		case "pw", "pass", "pin", "sid", "otp", "seed":
			kind = shortName
		}
	}
	if kind != noName && isSecret(s) {
		return noName // Such as dxk_password.
	}
	return kind
}

func endsInOneOf(s string, ends ...string) bool {
	for _, end := range ends {
		if strings.HasSuffix(s, end) {
			return true
		}
	}
	return false
}

// headerLength is the length of the name of a header of credentials, with its colon, with which s begins, or 0. Only a
// capital letter tells it from what Go goes on to say: "authorization: no such user".
func headerLength(s string) int {
	for _, name := range []string{"Authorization:", "Proxy-Authorization:", "Cookie:", "Set-Cookie:"} {
		if strings.HasPrefix(s, name) {
			return len(name)
		}
	}
	return 0
}

// isScheme tells whether a credential follows a word without more ado.
func isScheme(s string) bool { return strings.EqualFold(s, "bearer") || strings.EqualFold(s, "basic") }

// isMixed tells whether a word has letters and digits, and is as long as a password.
func isMixed(s string) bool {
	const shortest = 6
	digits, letters := 0, 0
	for i := range len(s) {
		switch {
		case isDigit(s[i]):
			digits++
		case isLetter(s[i]):
			letters++
		}
	}
	return len(s) >= shortest && digits > 0 && letters > 0
}
