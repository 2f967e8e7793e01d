package spansanitizer_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"dixie/spansanitizer"
)

const jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIweGYzOUZkNmU1MWFhZDg4RiJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"

func TestErrorText(t *testing.T) {
	t.Parallel()
	const address = "0x[REDACTED]"
	for give, want := range map[string]string{
		"":                                                     "",
		"finn: the circuit is open":                            "finn: the circuit is open",
		"context deadline exceeded":                            "context deadline exceeded",
		"wallet " + hardhat + " is not listed":                 "wallet " + address + " is not listed",
		strings.ToUpper(hardhat) + ".":                         address + ".",
		"(" + hardhat[2:] + ")":                                "([REDACTED])",
		hardhat + hardhat[2:] + " twice":                       address + " twice",
		"key dxk_abc-DEF_123 is unknown":                       "key [REDACTED] is unknown",
		"ticket=WST_abcdef, spent":                             "ticket=[REDACTED], spent",
		"token " + jwt + " expired":                            "token [REDACTED] expired",
		"token a1b2c3d4.e5f6a7b8.c9d0 expired":                 "token [REDACTED] expired",
		"mail alice.b+c@example.org bounced":                   "mail [REDACTED] bounced",
		"dial tcp 10.0.0.7:5432: refused":                      "dial tcp [REDACTED]: refused",
		"read tcp [2001:db8::1]:3001: reset":                   "read tcp [[REDACTED]]:3001: reset",
		`model "my secret plan" is unknown`:                    `model "[REDACTED]" is unknown`,
		`say "a \"quoted\" secret" twice`:                      `say "[REDACTED]" twice`,
		`open "quotation without end`:                          `open "[REDACTED]"`,
		"field `secret` is bad":                                "field `[REDACTED]` is bad",
		"x-api-key: hunter2, api_key=hunter3":                  "x-api-key: [REDACTED], api_key=[REDACTED]",
		"the token is expired":                                 "the token is expired",
		"model 'my secret plan': unknown":                      "model '[REDACTED]': unknown",
		"can't do what isn't there":                            "can't do what isn't there",
		"key dxk_password: x":                                  "key [REDACTED]: x",
		"to alice%40example.org":                               "to [REDACTED]",
		"at 12:30 we had status 503, 2 of 3":                   "at 12:30 we had status 503, 2 of 3",
		"pq: relation public.tasks at v1.2.3":                  "pq: relation public.tasks at v1.2.3",
		"x0x0xabc" + hardhat[2:]:                               "x0x0x[REDACTED]",
		"password=hunter2 was refused":                         "password=[REDACTED] was refused",
		"authorization: Bearer abc":                            "authorization: Bearer [REDACTED]",
		"Authorization: Token swordfish, x":                    "Authorization: [REDACTED]",
		"Proxy-Authorization: Digest username=bob, cnonce=x":   "Proxy-Authorization: [REDACTED]",
		"Cookie:theme=swordfish; y=tuna\nthe next line":        "Cookie: [REDACTED]\nthe next line",
		"map[Set-Cookie:[a=swordfish; Path=/]]":                "map[Set-Cookie: [REDACTED]",
		"Authorization:\nswordfish":                            "Authorization:\n[REDACTED]",
		"an empty Cookie:":                                     "an empty Cookie:",
		"call +4915112345678 now":                              "call [REDACTED] now",
		"session 627cc493-f310-47de-96bd-71410b7dec09 is gone": "session [REDACTED] is gone",
		"not \xff UTF-8":                                       "not ? UTF-8",
	} {
		if got := spansanitizer.ErrorText(give); got != want {
			t.Errorf("ErrorText(%q)\n got %q\nwant %q", give, got, want)
		}
	}
}

// What has no mark of its own, such as dxk_, and what must stay readable beside it.
func TestErrorTextKnowsForms(t *testing.T) {
	t.Parallel()
	for give, want := range map[string]string{
		// Quotation marks of print, and what only looks like another character.
		"field “alice smith” is unknown":      `field "[REDACTED]" is unknown`,
		"field „alice smith“ is unknown":      `field "[REDACTED]" is unknown`,
		"field ‘alice smith’ is unknown":      "field '[REDACTED]' is unknown",
		"field «alice smith» is unknown":      `field "[REDACTED]" is unknown`,
		"field “alice smith without end":      `field "[REDACTED]"`,
		"field 'it's alice smith' is unknown": "field '[REDACTED]' is unknown",
		"it’s what can’t be":                  "it's what can't be",
		"to alice＠example.com":                "to [REDACTED]",
		"０ｘ" + hardhat[2:]:                    "0x[REDACTED]",
		"f39Fd6e51\u200baad88F6F4ce6\u00ada":  "[REDACTED]",
		"to alice%2540example.com":            "to [REDACTED]",
		"to alice%252540example.com, 100%25":  "to [REDACTED], 100%25",
		`to alice\u0040example.com`:           "to [REDACTED]",
		"to alice&#64;example":                "to [REDACTED];example",
		// Names of credentials.
		"password:hunter2 x":                   "password:[REDACTED] x",
		"a:password:hunter2":                   "a:password:[REDACTED]",
		"token = abc, token : abc, token=>abc": "token = [REDACTED], token : [REDACTED], token=>[REDACTED]",
		"secret_key=a pwd=b passphrase: c":     "secret_key=[REDACTED] pwd=[REDACTED] passphrase: [REDACTED]",
		"cookies of session=abc sid=abc; pw=x": "cookies of session=[REDACTED] sid=[REDACTED]; pw=[REDACTED]",
		"credential=a, mnemonic = b, key=c":    "credential=[REDACTED], mnemonic = [REDACTED], key=[REDACTED]",
		"password=my-secret, token=password":   "password=[REDACTED], token=[REDACTED]",
		"password hunter2 or token abc123def":  "password [REDACTED] or token [REDACTED]",
		"the password is hunter2":              "the password is [REDACTED]",
		"session: V1StGXR8 has ended":          "session: [REDACTED] has ended",
		"begin session: deadline exceeded":     "begin session: deadline exceeded",
		"duplicate key value, key 2 of 3":      "duplicate key value, key 2 of 3",
		"pin 123abc is no name":                "pin 123abc is no name",
		// Names and addresses.
		"no entry for alice.eth.":                   "no entry for [REDACTED].",
		"no entry for alice.eth.limo":               "no entry for [REDACTED]",
		"a.ethernet.card":                           "a.ethernet.card",
		"wallet 0xf39Fd6e51aad":                     "wallet 0x[REDACTED]",
		"wallet 0xf39F…2266, 0xd8dA..60":            "wallet [REDACTED], 0xd8dA..60",
		"pointer 0xc0000a2345":                      "pointer 0xc0000a2345",
		"0x1f:0xf39f…2266 gone":                     "[REDACTED] gone",
		"f39Fd6e51aad8 8F6F4ce6aB882 7279cffFb922":  "[REDACTED]",
		"[243 159 214 229 26 173]":                  "[[REDACTED]]",
		"0xf39Fd6e51aad88F6 F4ce6aB8827279cf fFb92": "0x[REDACTED] [REDACTED]",
		// Keys and random words.
		"user YWxpY2VAZXhhbXBsZS5jb20= x":              "user [REDACTED]= x",
		"at /files/V1StGXR8Z5jdHi6B":                   "at [REDACTED]",
		"for V1StGXR8_Z5jdHi6B-myT":                    "for [REDACTED]",
		"use sk-proj-abcdefghijkl":                     "use [REDACTED]",
		"use AKIAIOSFODNNABCDEFGH":                     "use [REDACTED]",
		"use ghp_abcdefghijklmnop":                     "use [REDACTED]",
		"disk-7:sk-abcdefghijklm refused":              "[REDACTED] refused",
		"a task-force of risk-management-people":       "a task-force of risk-management-people",
		"Certificate2Fingerprint, x509-sha256-rsa4096": "Certificate2Fingerprint, x509-sha256-rsa4096",
		// Numbers.
		"card 4111 1111 1111 1111 is bad":    "card [REDACTED] is bad",
		"card 4111 1111 1111 1111 a1":        "card [REDACTED] a1",
		"card 4111-1111-1111-1111.":          "card [REDACTED].",
		"ssn 123-45-6789":                    "ssn [REDACTED]",
		"+49 171 2345678, 0171-2345678":      "[REDACTED], [REDACTED]",
		"call 171.234.5678":                  "call [REDACTED]",
		"call 0171 234 5678 now":             "call [REDACTED] now",
		"call +49 1712345 now":               "call [REDACTED] now",
		"iban DE89 3704 0044 0532 0130 00 x": "iban [REDACTED] x",
		"iban GB29 NWBK 6016 1331 9268 19":   "iban [REDACTED]",
		"iban DE89-3704-0044-0532-0130-00":   "iban [REDACTED]",
		"from 2024-08-06 on, 12 34 of 56 78": "from 2024-08-06 on, 12 34 of 56 78",
		"after 1.234567s: 10 20 30":          "after 1.234567s: 10 20 30",
	} {
		if got := spansanitizer.ErrorText(give); got != want {
			t.Errorf("ErrorText(%q)\n got %q\nwant %q", give, got, want)
		}
		if again := spansanitizer.ErrorText(want); again != want {
			t.Errorf("%q becomes %q when it is sanitised again", want, again)
		}
	}
}

// A secret of which the bound leaves the first half only.
func TestErrorTextAtTheBound(t *testing.T) {
	t.Parallel()
	for name, secret := range map[string]string{"address": hardhat[2:], "words": "'mine is a secret plan for the next year'"} {
		const begin = "field "
		give := begin + `"` + strings.Repeat("x", 2048-len(begin)-2-11) + `" ` + secret
		got := spansanitizer.ErrorText(give)
		if want := begin + `"[REDACTED]" `; !strings.HasPrefix(got, want) || strings.Contains(got, secret[1:5]) {
			t.Errorf("%s: %q, want %q and nothing of %q", name, got, want, secret)
		}
	}
}

func TestErrorTextIsBounded(t *testing.T) {
	t.Parallel()
	for name, give := range map[string]string{
		"words":                     strings.Repeat("word ", 10_000),
		"one word":                  strings.Repeat("w", 10_000),
		"letters of two":            strings.Repeat("ä ", 10_000),
		"an address at 4096":        strings.Repeat("word ", 815) + "aaaa " + hardhat + strings.Repeat(" word", 100),
		"addresses all along":       strings.Repeat(hardhat+" ", 1000),
		"secrets that fill no room": strings.Repeat(strings.Repeat("a", 400)+" ", 5) + "hunter2 " + strings.Repeat("b", 30) + hardhat,
		"key at the cut":            strings.Repeat(jwt+" ", 300)[:4090] + " dxk_abcdefgh",
	} {
		got := spansanitizer.ErrorText(give)
		if len(got) > 256 || !utf8.ValidString(got) || got == "" {
			t.Errorf("%s: %d bytes: %q", name, len(got), got)
		}
		checkErrorText(t, got)
	}
}

func FuzzErrorText(f *testing.F) {
	for _, seed := range []string{
		"finn: the circuit is open", hardhat, jwt, "dxk_abcdefgh wst_abcdefgh", "a@b.c", `"quoted" 'single'`, "bearer basic dxk_x",
		"0x" + hardhat, "0X" + hardhat[2:], "password=password=dxk_", "\xff\xfe@", strings.Repeat("0x0", 100), `"\`, "`", "::::::", "1.2.3.4:5",
		"plain words: 12345678", "no 0x[REDACTED] here", `a "[REDACTED]": b`, "x:[REDACTED]:y", "'\x10\x10''", "'a 'b' c'", `"[REDACTED]`, "[[REDACTED]]",
		"a (b), c; d. e", "passwd: x", "basic x", "eYJ", "ab12cd34-ab12-", "aaaaaaaaaaaaa bbbbbbbbbbbbb",
		"12 34 56 7890", "deadbeefcafe1 beefdeadbeef1", "DE89 ABCD 1234 ABCD 5678", "123-45-6789", "pin abc123", "key abc123", "sid : x", "cookie: x",
		"Cookie: x", "Authorization:x\n\"", "Set-Cookie:",
		"session: a1b2c3", "x-pwd y1z2w3", "sk-abcdefghij", "“a” «b» ‘c’", "password=token", "a:key:b", "%2540", "alice.eth", "４１１１ 1111 1111 1111", "'a", "''",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := spansanitizer.ErrorText(s)
		checkErrorText(t, got)
		if masked := spansanitizer.MaskText(s); spansanitizer.IsPlainText(s) && masked != s {
			t.Errorf("%q counts as plain, but is masked as %q", s, masked)
		}
		if again := spansanitizer.ErrorText(got); again != got {
			t.Errorf("once %q, twice %q", got, again)
		}
	})
}

// With whatever before and behind it, each is still found.
func FuzzErrorTextAround(f *testing.F) {
	secrets := []string{
		hardhat, strings.ToUpper(hardhat), hardhat[2:], "dxk_T0pSecretKey", "wst_T0pSecretTicket", "alice.smith@example.org",
		jwt, "627cc493-f310-47de-96bd-71410b7dec09", "DE89370400440532013000",
	}
	for _, seed := range []string{
		"", "a ", " a", "'", `"`, "`", "0x", "password=", "bearer ", "key:", "a'b' ", "é", "\\", "(", "‘", "“", "»", "\u200b", "\xe2",
		".", ":", "-", "/", "%40", "12 34 ", "[REDACTED]", "0x[REDACTED]",
	} {
		f.Add(seed, seed, uint16(0))
		f.Add(seed, "", uint16(2020))
	}
	f.Fuzz(func(t *testing.T, before, behind string, quoted uint16) {
		// A quotation of which little is left takes the secret to where the text is cut.
		if quoted > 0 {
			before = `"` + strings.Repeat("x", int(quoted)%2048) + `" ` + before
		}
		for _, secret := range secrets {
			text := spansanitizer.ErrorText(before + secret + behind)
			checkErrorText(t, text)
			const part = 9
			for i := len("dxk_"); i+part <= len(secret); i++ {
				if piece := secret[i : i+part]; strings.Contains(text, piece) && !strings.Contains(before+behind, piece) {
					t.Fatalf("%q of %q is still in %q", piece, secret, text)
				}
			}
		}
	})
}

// checkErrorText looks for what must not be left, by other means than the code: without regular expressions.
func checkErrorText(t *testing.T, s string) {
	t.Helper()
	lower := strings.ToLower(s)
	for _, mark := range []string{"@", "dxk_", "wst_"} {
		if strings.Contains(lower, mark) {
			t.Errorf("%q is left in %q", mark, s)
		}
	}
	if strings.Contains(s, "eyJ") {
		t.Errorf("the beginning of a token is left in %q", s)
	}
	for i := range lower {
		if n := hexRun(lower[i:]); n >= 40 {
			t.Errorf("%d hexadecimal digits are left in %q", n, s)
		}
	}
	if len(s) > 256 || !utf8.ValidString(s) {
		t.Errorf("%d bytes, or not UTF-8: %q", len(s), s)
	}
}

func hexRun(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789abcdef"))
}
