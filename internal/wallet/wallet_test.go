package wallet_test

import (
	"strings"
	"testing"

	"dixie/internal/wallet"
)

func TestParse(t *testing.T) {
	t.Parallel()
	lower := strings.ToLower(string(wallet.TestAddress))
	for _, tc := range []struct {
		in string
		ok bool
	}{
		{string(wallet.TestAddress), true},
		{lower, true},
		{"0x" + strings.ToUpper(lower[2:]), true},
		{"0X" + lower[2:], false},
		{lower[2:], false},
		{lower + "0", false},
		{lower[:41] + "g", false},
		{"", false},
	} {
		got, ok := wallet.Parse(tc.in)
		if ok != tc.ok || ok && got != wallet.TestAddress {
			t.Errorf("Parse(%q) = %q, %v", tc.in, got, ok)
		}
	}
}

func TestTestKeySignsForItsAddress(t *testing.T) {
	t.Parallel()
	key, err := wallet.ParseKey(wallet.TestKey)
	if err != nil {
		t.Fatal(err)
	}
	if key.Address() != wallet.TestAddress {
		t.Errorf("address %s", key.Address())
	}
	signature, err := key.SignMessage("hello")
	if err != nil || len(signature) != 132 {
		t.Errorf("signature %q, %v", signature, err)
	}
	if _, err := wallet.ParseKey("0x12"); err == nil {
		t.Error("a short key was accepted")
	}
}
