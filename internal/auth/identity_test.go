package auth_test

import (
	"strings"
	"testing"

	"dixie/internal/auth"
)

func TestSecret(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for text, others := range map[string][]string{
		"key":   {"", "ke", "kez", "Key", "key ", "keykey", long},
		"":      {"", "x"},
		"0":     {"", "\x00", "1"},
		long:    {"", "x", long[1:], long + "x"},
		"é\xff": {"é", "é\xfe"},
	} {
		s := auth.NewSecret(text)
		if s.Is(text) != (text != "") {
			t.Errorf("%.20q is itself: %v", text, s.Is(text))
		}
		for _, other := range others {
			if s.Is(other) {
				t.Errorf("%.20q is %.20q", text, other)
			}
		}
	}
	if (auth.Secret{}).Is("") {
		t.Error("no secret is nothing")
	}
}
