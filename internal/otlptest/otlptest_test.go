package otlptest_test

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"dixie/internal/otlptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLeaks(t *testing.T) {
	t.Parallel()
	const secret = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
	raw, err := hex.DecodeString(secret[2:])
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"as it is":            secret,
		"lower case":          strings.ToLower(secret),
		"without 0x":          secret[2:],
		"its bytes":           string(raw),
		"hexadecimal digits":  hex.EncodeToString([]byte(secret)),
		"base64":              base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 behind one":   base64.StdEncoding.EncodeToString([]byte("x" + secret + "y")),
		"base64 behind two":   base64.StdEncoding.EncodeToString([]byte("xx" + secret + "y")),
		"base64 behind three": base64.RawURLEncoding.EncodeToString([]byte("xxx" + secret)),
		"base64, lower case":  base64.StdEncoding.EncodeToString([]byte(strings.ToLower(secret))),
	} {
		if got := otlptest.Leaks([]byte("before "+data+" behind"), "another", secret); !slices.Equal(got, []string{secret}) {
			t.Errorf("%s: found %q", name, got)
		}
	}
	if got := otlptest.Leaks([]byte("f39Fd6e51aad88F6F4ce6aB8827279cffFb9226"), secret, "key"); got != nil {
		t.Errorf("found %q in a part of it", got)
	}
	if got := otlptest.Leaks([]byte("my key"), "key", "KEY"); !slices.Equal(got, []string{"key"}) {
		t.Errorf("found %q", got)
	}
}
