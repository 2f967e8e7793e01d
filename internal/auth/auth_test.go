package auth_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dixie/internal/auth"
	"dixie/internal/wallet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	origin = "http://localhost:3001"
	secret = "a secret of thirty-two bytes!!!!"
)

func newSIWE(tb testing.TB, chains ...int64) *auth.SIWE {
	tb.Helper()
	s, err := auth.NewSIWE(auth.SIWEConfig{Origins: []string{origin, "https://app.example"}, ChainIDs: chains}, auth.NewMemoryNonces(0))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func testKey(tb testing.TB) wallet.Key {
	tb.Helper()
	key, err := wallet.ParseKey(wallet.TestKey)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func sign(tb testing.TB, text string) string {
	tb.Helper()
	signature, err := testKey(tb).SignMessage(text)
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

// highS turns a signature into its twin with the same signer.
func highS(tb testing.TB, signature string) string {
	tb.Helper()
	raw, err := hex.DecodeString(signature[2:])
	if err != nil {
		tb.Fatal(err)
	}
	s := new(big.Int).Sub(crypto.S256().Params().N, new(big.Int).SetBytes(raw[32:64]))
	s.FillBytes(raw[32:64])
	raw[64] ^= 27 ^ 28
	return "0x" + hex.EncodeToString(raw)
}

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
		"expired":                   {edit: func(m *wallet.SignInMessage) { m.ExpirationTime = now.Add(-time.Second) }, reason: "expired"},
		"not yet valid":             {edit: func(m *wallet.SignInMessage) { m.NotBefore = now.Add(time.Hour) }, reason: "not_yet_valid"},
		"issued in the future":      {edit: func(m *wallet.SignInMessage) { m.IssuedAt = now.Add(6 * time.Minute) }, reason: "issued_ahead"},
		"issued long ago":           {edit: func(m *wallet.SignInMessage) { m.IssuedAt = now.Add(-time.Hour) }, reason: "issued_long_ago"},
		"nonce not ours":            {edit: func(m *wallet.SignInMessage) { m.Nonce = strings.Repeat("a", 32) }, reason: "nonce"},
		"address of another":        {edit: func(m *wallet.SignInMessage) { m.Address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" }, reason: "signer"},
		"address in lower case":     {text: strings.ToLower, reason: "message"},
		"no message":                {text: func(string) string { return "hello" }, reason: "message"},
		"too long":                  {text: func(s string) string { return s + strings.Repeat("x", 5000) }, reason: "message_too_long"},
		"line added":                {text: func(s string) string { return s + "\n" }, reason: "message"},
		"signature of 0 bytes":      {signature: func(string) string { return "0x" }, reason: "signature_shape"},
		"signature of 1 byte":       {signature: func(string) string { return "0x00" }, reason: "signature_shape"},
		"signature of 64 bytes":     {signature: func(s string) string { return s[:130] }, reason: "signature_shape"},
		"signature of 66 bytes":     {signature: func(s string) string { return s + "00" }, reason: "signature_shape"},
		"signature not hex":         {signature: func(string) string { return "0x" + strings.Repeat("zz", 65) }, reason: "signature_shape"},
		"signature without 0x":      {signature: func(s string) string { return s[2:] + "00" }, reason: "signature_shape"},
		"signature of zeros":        {signature: func(string) string { return "0x" + strings.Repeat("00", 65) }, reason: "signature_values"},
		"signature with another v":  {signature: func(s string) string { return s[:130] + "1d" }, reason: "signature_values"},
		"signature with high s":     {signature: func(s string) string { return highS(t, s) }, reason: "signature_values"},
		"signature of another text": {signature: func(string) string { return sign(t, "another text") }, reason: "signer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSIWE(t)
			nonce, _, err := s.Nonce(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m := wallet.SignInMessage{Domain: "localhost:3001", URI: origin, Address: wallet.TestAddress, Nonce: nonce, IssuedAt: now}
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
	nonce, _, err := s.Nonce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := wallet.SignInMessage{Domain: "localhost:3001", URI: origin, Address: wallet.TestAddress, Nonce: nonce, IssuedAt: time.Now()}.String()
	if _, err := s.Verify(t.Context(), text, sign(t, text)); auth.Reason(err) != "chain" {
		t.Errorf("error %v", err)
	}
}

func TestOneOfParallelUsesOfANonceSucceeds(t *testing.T) {
	t.Parallel()
	s := newSIWE(t)
	nonce, _, err := s.Nonce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := wallet.SignInMessage{Domain: "localhost:3001", URI: origin, Address: wallet.TestAddress, Nonce: nonce, IssuedAt: time.Now()}.String()
	signature := sign(t, text)
	var good atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := s.Verify(t.Context(), text, signature); err == nil {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 {
		t.Errorf("%d succeeded", good.Load())
	}
}

func TestNoncesExpireAndAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := auth.NewMemoryNonces(10)
		for i := range 100 {
			if err := m.Put(t.Context(), string(rune('a'+i)), auth.NonceTTL); err != nil {
				t.Fatal(err)
			}
		}
		if m.Len() > 10 {
			t.Errorf("%d nonces are kept", m.Len())
		}
		time.Sleep(auth.NonceTTL) // fake clock
		if ok, _ := m.Take(t.Context(), string(rune('a'+99))); ok {
			t.Error("an expired nonce was good")
		}
	})
}

func newTokens(tb testing.TB) *auth.HS256 {
	tb.Helper()
	h, err := auth.NewHS256([]byte(secret))
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func TestTokens(t *testing.T) {
	t.Parallel()
	h := newTokens(t)
	if _, err := auth.NewHS256([]byte(secret[:31])); err == nil {
		t.Error("a secret of 31 bytes was accepted")
	}
	token, issued, err := h.Sign(string(wallet.TestAddress), "team")
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(issued, got); diff != "" {
		t.Error(diff)
	}
	now := time.Now()
	good := func() jwt.MapClaims {
		return jwt.MapClaims{
			"iss": "dixie-bff", "sub": string(wallet.TestAddress), "wallet": string(wallet.TestAddress), "role": "team",
			"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "x",
		}
	}
	with := func(key string, value any) string {
		c := good()
		if value == nil {
			delete(c, key)
		} else {
			c[key] = value
		}
		return mint(t, jwt.SigningMethodHS256, []byte(secret), c)
	}
	if _, err := h.Verify(mint(t, jwt.SigningMethodHS256, []byte(secret), good())); err != nil {
		t.Fatalf("the unchanged claims: %v", err)
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(token, ".")[1] + "."
	for name, tc := range map[string]struct{ token, kind string }{
		"alg none":        {none, "invalid_signature"},
		"HS512":           {mint(t, jwt.SigningMethodHS512, []byte(secret), good()), "invalid_signature"},
		"other secret":    {mint(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), good()), "invalid_signature"},
		"tampered":        {token[:len(token)-2] + map[bool]string{true: "AA", false: "BB"}[!strings.HasSuffix(token, "AA")], "invalid_signature"},
		"expired":         {with("exp", now.Add(-time.Second).Unix()), "expired"},
		"no exp":          {with("exp", nil), "invalid_claims"},
		"other issuer":    {with("iss", "evil"), "invalid_claims"},
		"no issuer":       {with("iss", nil), "invalid_claims"},
		"other wallet":    {with("wallet", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"), "invalid_claims"},
		"not an address":  {with("sub", "root"), "invalid_claims"},
		"not checksummed": {with("sub", strings.ToLower(string(wallet.TestAddress))), "invalid_claims"},
		"no iat":          {with("iat", nil), "invalid_claims"},
		"no role":         {with("role", nil), "invalid_claims"},
		"empty":           {"", "malformed"},
		"garbage":         {"a.b.c", "malformed"},
		"too long":        {token + strings.Repeat("a", 5000), "malformed"},
	} {
		_, err := h.Verify(tc.token)
		if !errors.Is(err, auth.ErrToken) || auth.ErrorType(err) != tc.kind {
			t.Errorf("%s: %v (%s), want %s", name, err, auth.ErrorType(err), tc.kind)
		}
	}
}

func mint(t *testing.T, method jwt.SigningMethod, key []byte, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTickets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		tickets := auth.NewTickets(auth.NewMemoryTickets())
		var issued []string
		for range 5 {
			ticket, err := tickets.Issue(ctx, "w")
			if err != nil {
				t.Fatal(err)
			}
			issued = append(issued, ticket)
		}
		if _, err := tickets.Issue(ctx, "w"); !errors.Is(err, auth.ErrTooManyTickets) {
			t.Errorf("the sixth: %v", err)
		}
		if _, err := tickets.Issue(ctx, "another"); err != nil {
			t.Errorf("another wallet: %v", err)
		}
		if w, ok, err := tickets.Redeem(ctx, issued[0]); w != "w" || !ok || err != nil {
			t.Errorf("redeem: %q %v %v", w, ok, err)
		}
		if _, ok, _ := tickets.Redeem(ctx, issued[0]); ok {
			t.Error("redeemed twice")
		}
		time.Sleep(auth.TicketTTL) // fake clock
		if _, ok, _ := tickets.Redeem(ctx, issued[1]); ok {
			t.Error("redeemed after its time")
		}
		if _, err := tickets.Issue(ctx, "w"); err != nil {
			t.Errorf("after the others have expired: %v", err)
		}
	})
}

func TestAllowlistFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "allowlist.json")
	logged := &lockedBuffer{}
	list, err := auth.OpenAllowlistFile(path, false, slog.New(slog.NewTextHandler(logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = list.Close() }()
	ctx := t.Context()
	if list.AllowsWallet(string(wallet.TestAddress)) {
		t.Error("an absent file admits")
	}
	if _, err := list.Add(ctx, auth.EntryWallet, strings.ToLower(string(wallet.TestAddress))); err != nil {
		t.Fatal(err)
	}
	if _, err := list.Add(ctx, auth.EntryAPIKey, "dxk_12345678"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "0x12", "dxk_short", "root"} {
		if _, err := list.Add(ctx, auth.EntryWallet, bad); !errors.Is(err, auth.ErrInvalidEntry) {
			t.Errorf("wallet %q: %v", bad, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := auth.ParseAllowlist(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{string(wallet.TestAddress)}, onDisk.Wallets); diff != "" {
		t.Error(diff)
	}
	if !list.AllowsWallet(string(wallet.TestAddress)) || !list.AllowsKey("dxk_12345678") || list.AllowsKey("dxk_12345679") {
		t.Error("the list in memory differs from what was added")
	}
	if _, err := list.Remove(ctx, string(wallet.TestAddress)); err != nil || list.AllowsWallet(string(wallet.TestAddress)) {
		t.Errorf("remove: %v", err)
	}
	if _, err := list.Remove(ctx, "dxk_unknown_key"); !errors.Is(err, auth.ErrNotListed) {
		t.Errorf("remove what is not there: %v", err)
	}

	// Another process replaces the file, by a rename.
	replace(t, path, `{"version":1,"wallets":["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],"apiKeys":[]}`)
	await(t, func() bool { return list.AllowsWallet("0x70997970C51812dc3A010C7d01b50e0d17dc79C8") })
	// A file that cannot be read keeps the list in memory.
	replace(t, path, `{"version":1,"wall`)
	await(t, func() bool { return strings.Contains(logged.String(), "not usable") })
	if !list.AllowsWallet("0x70997970C51812dc3A010C7d01b50e0d17dc79C8") {
		t.Error("a broken file emptied the list")
	}
	if _, err := auth.OpenAllowlistFile(path, true, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken file at the start: %v", err)
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("not seen within ten seconds")
		}
	}
}

func TestAuditIsBounded(t *testing.T) {
	t.Parallel()
	a := auth.NewAudit(slog.New(slog.DiscardHandler))
	for range 25_000 {
		a.Record(t.Context(), auth.AuditEntry{Identity: auth.Identity{Kind: auth.Wallet, Wallet: "w"}})
	}
	if a.Len() > 10_000 {
		t.Errorf("%d entries are kept", a.Len())
	}
}

func FuzzSIWEVerify(f *testing.F) {
	m := wallet.SignInMessage{Domain: "localhost:3001", URI: origin, Address: wallet.TestAddress, Nonce: strings.Repeat("a", 32), IssuedAt: time.Now()}
	f.Add(m.String(), sign(f, m.String()))
	f.Add("", "0x")
	s := newSIWE(f)
	f.Fuzz(func(t *testing.T, message, signature string) {
		// No nonce was issued, so nothing can be good.
		if _, err := s.Verify(t.Context(), message, signature); !errors.Is(err, auth.ErrSignIn) {
			t.Errorf("error %v", err)
		}
	})
}

func FuzzTokenVerify(f *testing.F) {
	h := newTokens(f)
	token, _, err := h.Sign(string(wallet.TestAddress), "team")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := h.Verify(text)
		if err == nil && claims.Wallet != string(wallet.TestAddress) {
			t.Errorf("a forged token was accepted: %+v", claims)
		}
		if err != nil && !errors.Is(err, auth.ErrToken) {
			t.Errorf("error %v", err)
		}
	})
}

func FuzzAllowlistParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"wallets":["` + string(wallet.TestAddress) + `"],"apiKeys":["dxk_12345678"],"updated_at":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		data, err := auth.ParseAllowlist(raw)
		if err != nil {
			return
		}
		for _, w := range data.Wallets {
			if address, ok := wallet.Parse(w); !ok || string(address) != w {
				t.Errorf("wallet %q came through", w)
			}
		}
	})
}

func BenchmarkTokenVerify(b *testing.B) {
	h := newTokens(b)
	token, _, err := h.Sign(string(wallet.TestAddress), "team")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Verify(token); err != nil {
			b.Fatal(err)
		}
	}
}
