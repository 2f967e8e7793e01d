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
		"Authorization: Bearer abc":                            "Authorization: Bearer [REDACTED]",
		"call +4915112345678 now":                              "call [REDACTED] now",
		"session 627cc493-f310-47de-96bd-71410b7dec09 is gone": "session [REDACTED] is gone",
		"not \xff UTF-8":                                       "not ? UTF-8",
	} {
		if got := spansanitizer.ErrorText(give); got != want {
			t.Errorf("ErrorText(%q)\n got %q\nwant %q", give, got, want)
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
		// With something before and behind it, each is still found.
		for _, secret := range []string{hardhat, strings.ToUpper(hardhat), "dxk_abcdefgh", "wst_abcdefgh", jwt, "alice@example.org"} {
			text := spansanitizer.ErrorText("a " + secret + " " + s)
			checkErrorText(t, text)
			if strings.Contains(strings.ToLower(text), strings.ToLower(strings.TrimPrefix(secret, "0x"))) {
				t.Errorf("%q is still in %q", secret, text)
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
