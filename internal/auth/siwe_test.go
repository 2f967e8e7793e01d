package auth_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dixie/internal/auth"
	"dixie/internal/wallet"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, tc := range map[string]struct {
		edit      func(*wallet.SignInMessage)
		text      func(string) string
		signature func(string) string
		reason    string // empty: accepted
	}{
		"good":                      {},
		"host without port":         {edit: func(m *wallet.SignInMessage) { m.Domain = "localhost" }},
		"second origin":             {edit: func(m *wallet.SignInMessage) { m.Domain, m.URI = "app.example", "https://app.example/login" }},
		"with time bounds":          {edit: func(m *wallet.SignInMessage) { m.ExpirationTime, m.NotBefore = now.Add(time.Hour), now.Add(-time.Hour) }},
		"v of 0 or 1":               {signature: func(s string) string { return s[:130] + map[string]string{"1b": "00", "1c": "01"}[s[130:]] }},
		"another domain":            {edit: func(m *wallet.SignInMessage) { m.Domain = "evil.example" }, reason: "domain"},
		"another port":              {edit: func(m *wallet.SignInMessage) { m.Domain = "localhost:9" }, reason: "domain"},
		"URI elsewhere":             {edit: func(m *wallet.SignInMessage) { m.URI = "https://evil.example" }, reason: "uri"},
		"URI on another port":       {edit: func(m *wallet.SignInMessage) { m.URI = "http://localhost:9999/x" }, reason: "uri"},
		"URI with a user":           {edit: func(m *wallet.SignInMessage) { m.URI = "http://evil.example@localhost:3001/" }, reason: "uri"},
		"URI of another scheme":     {edit: func(m *wallet.SignInMessage) { m.URI = "ftp://localhost:3001" }, reason: "uri"},
		"URI without port":          {edit: func(m *wallet.SignInMessage) { m.URI = "http://localhost/sign-in" }},
		"expired":                   {edit: func(m *wallet.SignInMessage) { m.ExpirationTime = now.Add(-time.Second) }, reason: "expired"},
		"not yet valid":             {edit: func(m *wallet.SignInMessage) { m.NotBefore = now.Add(time.Hour) }, reason: "not_yet_valid"},
		"issued in the future":      {edit: func(m *wallet.SignInMessage) { m.IssuedAt = now.Add(6 * time.Minute) }, reason: "issued_ahead"},
		"issued long ago":           {edit: func(m *wallet.SignInMessage) { m.IssuedAt = now.Add(-time.Hour) }, reason: "issued_long_ago"},
		"unknown nonce":             {edit: func(m *wallet.SignInMessage) { m.Nonce = strings.Repeat("a", 32) }, reason: "nonce"},
		"address of another":        {edit: func(m *wallet.SignInMessage) { m.Address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" }, reason: "signer"},
		"address in lower case":     {text: strings.ToLower, reason: "message"},
		"version 2":                 {text: func(s string) string { return strings.Replace(s, "Version: 1", "Version: 2", 1) }, reason: "message"},
		"no nonce":                  {edit: func(m *wallet.SignInMessage) { m.Nonce = "" }, reason: "message"},
		"issued at no time":         {text: func(s string) string { return strings.Replace(s, "Issued At: 2", "Issued At: x", 1) }, reason: "message"},
		"empty message":             {text: func(string) string { return "" }, reason: "message"},
		"no message":                {text: func(string) string { return "hello" }, reason: "message"},
		"too long":                  {text: func(s string) string { return s + strings.Repeat("x", 5000) }, reason: "message_too_long"},
		"line added":                {text: func(s string) string { return s + "\n" }, reason: "message"},
		"empty signature":           {signature: func(string) string { return "" }, reason: "signature_shape"},
		"signature of 0 bytes":      {signature: func(string) string { return "0x" }, reason: "signature_shape"},
		"signature of 1 byte":       {signature: func(string) string { return "0x00" }, reason: "signature_shape"},
		"signature of 64 bytes":     {signature: func(s string) string { return s[:130] }, reason: "signature_shape"},
		"signature of 66 bytes":     {signature: func(s string) string { return s + "00" }, reason: "signature_shape"},
		"signature of 132 digits":   {signature: func(s string) string { return s[2:] + "00" }, reason: "signature_shape"},
		"signature of 131 digits":   {signature: func(s string) string { return s + "0" }, reason: "signature_shape"},
		"signature after 0X":        {signature: func(s string) string { return "0X" + s[2:] }, reason: "signature_shape"},
		"signature of a MiB":        {signature: func(s string) string { return s + strings.Repeat("0", 1<<20) }, reason: "signature_shape"},
		"signature not hex":         {signature: func(string) string { return "0x" + strings.Repeat("zz", 65) }, reason: "signature_shape"},
		"signature not ASCII":       {signature: func(s string) string { return s[:130] + "é" }, reason: "signature_shape"},
		"signature without 0x":      {signature: func(s string) string { return s[2:] }, reason: "signature_shape"},
		"signature of zeros":        {signature: func(string) string { return "0x" + strings.Repeat("00", 65) }, reason: "signature_values"},
		"signature of ones":         {signature: func(string) string { return "0x" + strings.Repeat("ff", 65) }, reason: "signature_values"},
		"signature with another v":  {signature: func(s string) string { return s[:130] + "1d" }, reason: "signature_values"},
		"signature with high s":     {signature: func(s string) string { return highS(t, s) }, reason: "signature_values"},
		"signature of another text": {signature: func(string) string { return sign(t, "another text") }, reason: "signer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSIWE(t)
			m := message(newNonce(t, s))
			if tc.edit != nil {
				tc.edit(&m)
			}
			text := m.String()
			if tc.text != nil {
				text = tc.text(text)
			}
			signature := sign(t, text)
			if tc.signature != nil {
				signature = tc.signature(signature)
			}
			address, err := s.Verify(t.Context(), text, signature)
			if tc.reason == "" {
				if err != nil || address != wallet.TestAddress {
					t.Fatalf("%q, %v", address, err)
				}
				if _, err := s.Verify(t.Context(), text, signature); auth.Reason(err) != "nonce" {
					t.Errorf("replay: %v", err)
				}
				return
			}
			if !errors.Is(err, auth.ErrSignIn) || auth.Reason(err) != tc.reason {
				t.Errorf("error %v, want reason %s", err, tc.reason)
			}
		})
	}
}

func TestChainsCanBeRestricted(t *testing.T) {
	t.Parallel()
	s := newSIWE(t, 80094)
	text := message(newNonce(t, s)).String()
	if _, err := s.Verify(t.Context(), text, sign(t, text)); auth.Reason(err) != "chain" {
		t.Errorf("error %v", err)
	}
}

func TestOneOfParallelUsesOfANonceSucceeds(t *testing.T) {
	t.Parallel()
	s := newSIWE(t)
	text := message(newNonce(t, s)).String()
	signature := sign(t, text)
	if n := inParallel(func() bool { _, err := s.Verify(t.Context(), text, signature); return err == nil }); n != 1 {
		t.Errorf("%d of 50 parallel uses succeeded", n)
	}
}

// TestTimeBoundsOfAMessage goes to the second on both sides of each bound.
func TestTimeBoundsOfAMessage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edit   func(m *wallet.SignInMessage, now time.Time)
		reason string
	}{
		"issued 5 min ahead":       {func(m *wallet.SignInMessage, now time.Time) { m.IssuedAt = now.Add(5 * time.Minute) }, ""},
		"issued 5 min 1 s ahead":   {func(m *wallet.SignInMessage, now time.Time) { m.IssuedAt = now.Add(301 * time.Second) }, "issued_ahead"},
		"issued 10 min ago":        {func(m *wallet.SignInMessage, now time.Time) { m.IssuedAt = now.Add(-10 * time.Minute) }, ""},
		"issued 10 min 1 s ago":    {func(m *wallet.SignInMessage, now time.Time) { m.IssuedAt = now.Add(-601 * time.Second) }, "issued_long_ago"},
		"expires in 1 s":           {func(m *wallet.SignInMessage, now time.Time) { m.ExpirationTime = now.Add(time.Second) }, ""},
		"expires now":              {func(m *wallet.SignInMessage, now time.Time) { m.ExpirationTime = now }, "expired"},
		"good from now on":         {func(m *wallet.SignInMessage, now time.Time) { m.NotBefore = now }, ""},
		"good in 1 s":              {func(m *wallet.SignInMessage, now time.Time) { m.NotBefore = now.Add(time.Second) }, "not_yet_valid"},
		"expired before it begins": {func(m *wallet.SignInMessage, now time.Time) { m.NotBefore, m.ExpirationTime = now, now }, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSIWE(t)
				m := message(newNonce(t, s))
				tc.edit(&m, time.Now())
				_, err := s.Verify(t.Context(), m.String(), sign(t, m.String()))
				if tc.reason == "" && err != nil || tc.reason != "" && (!errors.Is(err, auth.ErrSignIn) || auth.Reason(err) != tc.reason) {
					t.Errorf("error %v, want reason %q", err, tc.reason)
				}
			})
		})
	}
}

func TestExpiredNonce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSIWE(t)
		for _, tc := range []struct {
			after time.Duration
			good  bool
		}{{auth.NonceTTL - time.Nanosecond, true}, {auth.NonceTTL, false}} {
			nonce := newNonce(t, s)
			time.Sleep(tc.after) // fake clock
			text := message(nonce).String()
			_, err := s.Verify(t.Context(), text, sign(t, text))
			if (err == nil) != tc.good || err != nil && auth.Reason(err) != "nonce" {
				t.Errorf("after %v: %v", tc.after, err)
			}
		}
	})
}

// TestWhatUsesANonceUp: an attempt for this site and in time does, whatever its signature is worth. One
// for another site does not, or that site could use up nonces that are not its own.
func TestWhatUsesANonceUp(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		attempt func(m *wallet.SignInMessage) (signature string)
		usedUp  bool
	}{
		"bad signature": {func(*wallet.SignInMessage) string { return "0x" }, true},
		"another's wallet": {func(m *wallet.SignInMessage) string {
			m.Address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
			return sign(t, m.String())
		}, true},
		"another site": {func(m *wallet.SignInMessage) string { m.Domain = "evil.example"; return sign(t, m.String()) }, false},
		"too late": {func(m *wallet.SignInMessage) string {
			m.ExpirationTime = m.IssuedAt.Add(-time.Hour)
			return sign(t, m.String())
		}, false},
	} {
		s := newSIWE(t)
		nonce := newNonce(t, s)
		m := message(nonce)
		signature := tc.attempt(&m)
		if _, err := s.Verify(t.Context(), m.String(), signature); !errors.Is(err, auth.ErrSignIn) {
			t.Errorf("%s: %v", name, err)
		}
		text := message(nonce).String()
		_, err := s.Verify(t.Context(), text, sign(t, text))
		if (err != nil) != tc.usedUp || err != nil && auth.Reason(err) != "nonce" {
			t.Errorf("%s, then a good attempt: %v", name, err)
		}
	}
}

// TestASignatureOfAnyLengthIsRefused: what recovers keys does not survive every length.
func TestASignatureOfAnyLengthIsRefused(t *testing.T) {
	t.Parallel()
	s := newSIWE(t)
	for length := range 140 {
		raw := make([]byte, length)
		_, _ = rand.Read(raw)
		text := message(newNonce(t, s)).String()
		if _, err := s.Verify(t.Context(), text, "0x"+hex.EncodeToString(raw)); !errors.Is(err, auth.ErrSignIn) {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
}

func TestNewSIWERefuses(t *testing.T) {
	t.Parallel()
	nonces := auth.NewMemoryNonces(0)
	for name, origins := range map[string][]string{
		"no origin":   nil,
		"no scheme":   {"localhost:3001"},
		"a path":      {origin, origin + "/"},
		"other use":   {"ftp://localhost"},
		"user info":   {"http://me@localhost/"},
		"no host":     {"http://"},
		"not a URL":   {"http://[::1"},
		"empty":       {""},
		"any":         {"*"},
		"upper case":  {"https://App.example"},
		"own port":    {"https://app.example:443"},
		"with spaces": {" " + origin},
	} {
		if _, err := auth.NewSIWE(auth.SIWEConfig{Origins: origins}, nonces); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := auth.NewSIWE(auth.SIWEConfig{Origins: []string{origin}}, nil); err == nil {
		t.Error("sign-in without a nonce store was accepted")
	}
}

// everyNonce is a store in which every nonce was issued, so that fuzzing gets past it.
type everyNonce struct{}

func (everyNonce) Put(context.Context, string, time.Duration) error { return nil }
func (everyNonce) Take(context.Context, string) (bool, error)       { return true, nil }

func FuzzSIWEVerify(f *testing.F) {
	// The clock of a synctest bubble begins here. That of the machine would give every fuzzing process a message of its own.
	issued := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	m := wallet.SignInMessage{Domain: "localhost:3001", URI: origin, Address: wallet.TestAddress, Nonce: strings.Repeat("a", 32), IssuedAt: issued}
	good, proof := m.String(), sign(f, m.String())
	f.Add(good, proof)
	f.Add(good, proof[:130]+"00")
	f.Add(good, "0x"+strings.Repeat("01", 65))
	f.Add("", "0x")
	s, err := auth.NewSIWE(auth.SIWEConfig{Origins: []string{origin}}, everyNonce{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, message, signature string) {
		synctest.Test(t, func(t *testing.T) {
			address, err := s.Verify(t.Context(), message, signature)
			switch {
			case err == nil && (message != good || address != wallet.TestAddress):
				// Only the key of the test address signs here, and it has signed one message.
				t.Errorf("%q signed %q in", address, message)
			case err != nil && !errors.Is(err, auth.ErrSignIn):
				t.Errorf("error %v", err)
			case err != nil && message == good && signature == proof:
				t.Errorf("the good message is refused: %v", err)
			}
		})
	})
}
