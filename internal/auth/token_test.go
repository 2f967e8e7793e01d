package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"dixie/internal/auth"
	"dixie/internal/wallet"
)

func newTokens(tb testing.TB) *auth.HS256 {
	tb.Helper()
	h, err := auth.NewHS256([]byte(secret))
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func TestTokenRoundTrip(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTokens(t)
		token := signToken(t, h)
		got, err := h.Verify(token)
		if err != nil {
			t.Fatal(err)
		}
		want := auth.Claims{Wallet: string(wallet.TestAddress), Role: "team", ExpiresAt: time.Now().Add(auth.TokenTTL)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("claims (-signed +verified):\n%s", diff)
		}
		if again := signToken(t, h); again == token {
			t.Error("two tokens are the same")
		}
	})
}

// TestTokenOnTheWire pins what other verifiers of our tokens rely on.
func TestTokenOnTheWire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		token, err := newTokens(t).Sign(string(wallet.TestAddress), "team")
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(token, ".")
		header, err := base64.RawURLEncoding.DecodeString(parts[0])
		if err != nil || string(header) != `{"alg":"HS256","typ":"JWT"}` {
			t.Errorf("header %s, %v", header, err)
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		if id, _ := claims["jti"].(string); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
			t.Errorf("jti %q", id)
		}
		delete(claims, "jti")
		now := float64(time.Now().Unix())
		want := map[string]any{
			"iss": "dixie-bff", "sub": string(wallet.TestAddress), "wallet": string(wallet.TestAddress), "role": "team",
			"iat": now, "exp": now + 3600,
		}
		if diff := cmp.Diff(want, claims); diff != "" {
			t.Errorf("claims (-want +got):\n%s", diff)
		}
	})
}

func TestATokenEndsAtItsExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTokens(t)
		token, err := h.Sign(string(wallet.TestAddress), "team")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(auth.TokenTTL - time.Nanosecond) // fake clock
		for range 2 {                               // The second time it is known.
			if got, err := h.Verify(token); err != nil || got.Wallet != string(wallet.TestAddress) {
				t.Errorf("before its expiry: %+v, %v", got, err)
			}
		}
		if h.KnownTokens() != 1 {
			t.Errorf("%d tokens are known, want 1", h.KnownTokens())
		}
		time.Sleep(time.Nanosecond) // fake clock
		for range 2 {
			claims, err := h.Verify(token)
			if !errors.Is(err, auth.ErrToken) || auth.ErrorType(err) != "expired" || claims != (auth.Claims{}) {
				t.Errorf("at its expiry: %+v, %v", claims, err)
			}
		}
		if h.KnownTokens() != 0 {
			t.Errorf("%d tokens are known after its expiry", h.KnownTokens())
		}
	})
}

// TestATokenHoldsFromItsTimeOn is about the other two times: what was refused for them is not remembered.
func TestATokenHoldsFromItsTimeOn(t *testing.T) {
	t.Parallel()
	for _, claim := range []string{"nbf", "iat"} {
		synctest.Test(t, func(t *testing.T) {
			h := newTokens(t)
			now := time.Now()
			claims := jwt.MapClaims{
				"iss": "dixie-bff", "sub": string(wallet.TestAddress), "wallet": string(wallet.TestAddress), "role": "team",
				"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			}
			claims[claim] = now.Add(time.Minute).Unix()
			token := mint(t, jwt.SigningMethodHS256, []byte(secret), claims)
			for range 2 {
				if _, err := h.Verify(token); !errors.Is(err, auth.ErrToken) || auth.ErrorType(err) != "invalid_claims" {
					t.Errorf("%s, before its time: %v", claim, err)
				}
			}
			time.Sleep(time.Minute) // fake clock
			for range 2 {
				if _, err := h.Verify(token); err != nil {
					t.Errorf("%s, at its time: %v", claim, err)
				}
			}
		})
	}
}

// TestTamperingIsFoundInKnownTokens changes every letter of a token that is known.
func TestTamperingIsFoundInKnownTokens(t *testing.T) {
	t.Parallel()
	h := newTokens(t)
	token := signToken(t, h)
	if _, err := h.Verify(token); err != nil {
		t.Fatal(err)
	}
	for at := range token {
		for _, letter := range []byte{token[at] ^ 1, 'A', 'x', '.'} {
			changed := []byte(token)
			changed[at] = letter
			if claims, err := h.Verify(string(changed)); string(changed) != token && (err == nil || claims != (auth.Claims{})) {
				t.Errorf("%q in place %d of %d was accepted", letter, at, len(token))
			}
		}
	}
	for _, changed := range []string{token[:len(token)-1], token + "A", " " + token, token + token} {
		if _, err := h.Verify(changed); err == nil {
			t.Errorf("%q was accepted", changed)
		}
	}
	if h.KnownTokens() != 1 {
		t.Errorf("%d tokens are known, want 1", h.KnownTokens())
	}
}

func TestKnownTokensAreBounded(t *testing.T) {
	t.Parallel()
	h := newTokens(t)
	first := signToken(t, h)
	for range auth.MaxKnownTokens + 1 {
		if _, err := h.Verify(signToken(t, h)); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Verify(first); err != nil {
			t.Fatal(err)
		}
	}
	if h.KnownTokens() != auth.MaxKnownTokens {
		t.Errorf("%d tokens are known, want %d", h.KnownTokens(), auth.MaxKnownTokens)
	}
}

func TestKnownTokensConcurrently(t *testing.T) {
	t.Parallel()
	h := newTokens(t)
	token := signToken(t, h)
	good := inParallel(func() bool {
		claims, err := h.Verify(token)
		_, bad := h.Verify(token[:len(token)-1])
		return err == nil && claims.Wallet == string(wallet.TestAddress) && bad != nil
	})
	if good != 50 || h.KnownTokens() != 1 {
		t.Errorf("%d of 50 got their answer, %d tokens are known", good, h.KnownTokens())
	}
}

func signToken(tb testing.TB, h *auth.HS256) string {
	tb.Helper()
	token, err := h.Sign(string(wallet.TestAddress), "team")
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

func TestTokensAreRefused(t *testing.T) {
	t.Parallel()
	h := newTokens(t)
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
	token := mint(t, jwt.SigningMethodHS256, []byte(secret), good())
	if _, err := h.Verify(token); err != nil {
		t.Fatalf("the unchanged claims: %v", err)
	}
	parts := strings.Split(token, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	// swapped has one part in place of the token's own.
	swapped := func(at int, part string) string {
		changed := append([]string(nil), parts...)
		changed[at] = part
		return strings.Join(changed, ".")
	}
	admin := good()
	admin["role"] = "admin"
	elevated := strings.Split(mint(t, jwt.SigningMethodHS256, []byte("another secret of thirty-two byt"), admin), ".")[1]
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	signature[0] ^= 1
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ token, kind string }{
		"alg none, unsigned":         {encode(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + ".", "invalid_signature"},
		"alg none, signed":           {swapped(0, encode(`{"alg":"none","typ":"JWT"}`)), "invalid_signature"},
		"alg None":                   {encode(`{"alg":"None"}`) + "." + parts[1] + ".", "invalid_signature"},
		"alg in lower case":          {swapped(0, encode(`{"alg":"hs256"}`)), "invalid_signature"},
		"alg missing":                {swapped(0, encode(`{"typ":"JWT"}`)), "invalid_signature"},
		"alg not text":               {swapped(0, encode(`{"alg":256}`)), "invalid_signature"},
		"HS384":                      {mint(t, jwt.SigningMethodHS384, []byte(secret), good()), "invalid_signature"},
		"HS512":                      {mint(t, jwt.SigningMethodHS512, []byte(secret), good()), "invalid_signature"},
		"ES256":                      {mint(t, jwt.SigningMethodES256, key, good()), "invalid_signature"},
		"other secret":               {mint(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), good()), "invalid_signature"},
		"no signature":               {parts[0] + "." + parts[1] + ".", "invalid_signature"},
		"tampered signature":         {swapped(2, base64.RawURLEncoding.EncodeToString(signature)), "invalid_signature"},
		"tampered claims":            {swapped(1, elevated), "invalid_signature"},
		"tampered header":            {swapped(0, encode(`{"alg":"HS256","typ":"JWT","kid":"x"}`)), "invalid_signature"},
		"signature cut":              {token[:len(token)-3], "invalid_signature"},
		"expired":                    {with("exp", now.Add(-time.Second).Unix()), "expired"},
		"expired and tampered":       {with("exp", now.Add(-time.Second).Unix())[:200], "malformed"},
		"no exp":                     {with("exp", nil), "invalid_claims"},
		"exp not a time":             {with("exp", "never"), "malformed"},
		"not yet valid":              {with("nbf", now.Add(time.Hour).Unix()), "invalid_claims"},
		"issued in the future":       {with("iat", now.Add(time.Hour).Unix()), "invalid_claims"},
		"other issuer":               {with("iss", "evil"), "invalid_claims"},
		"no issuer":                  {with("iss", nil), "invalid_claims"},
		"other wallet":               {with("wallet", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"), "invalid_claims"},
		"no wallet":                  {with("wallet", nil), "invalid_claims"},
		"no subject":                 {with("sub", nil), "invalid_claims"},
		"not an address":             {with("sub", "root"), "invalid_claims"},
		"not checksummed":            {with("sub", strings.ToLower(string(wallet.TestAddress))), "invalid_claims"},
		"no iat":                     {with("iat", nil), "invalid_claims"},
		"no role":                    {with("role", nil), "invalid_claims"},
		"empty":                      {"", "malformed"},
		"one part":                   {"a", "malformed"},
		"garbage":                    {"a.b.c", "malformed"},
		"four parts":                 {token + ".", "malformed"},
		"signature in other letters": {token + "=", "malformed"},
		"header not JSON":            {swapped(0, encode("x")), "malformed"},
		"claims not JSON":            {swapped(1, encode("x")), "malformed"},
		"too long, and good":         {with("role", strings.Repeat("x", 4096)), "malformed"},
		"too long":                   {token + strings.Repeat("a", 5000), "malformed"},
	} {
		claims, err := h.Verify(tc.token)
		if !errors.Is(err, auth.ErrToken) || auth.ErrorType(err) != tc.kind || claims != (auth.Claims{}) {
			t.Errorf("%s: %v (%s), want %s", name, err, auth.ErrorType(err), tc.kind)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	if _, err := auth.NewHS256([]byte(secret[:31])); err == nil {
		t.Error("a secret of 31 bytes was accepted")
	}
	h := newTokens(t)
	for name, subject := range map[string]string{
		"nobody": "", "what is no address": "root", "lower case": strings.ToLower(string(wallet.TestAddress)),
	} {
		if token, err := h.Sign(subject, "team"); err == nil {
			t.Errorf("%s got %s", name, token)
		}
	}
	if token, err := h.Sign(string(wallet.TestAddress), ""); err == nil {
		t.Errorf("a token without a role was issued: %s", token)
	}
}

func mint(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func FuzzTokenVerify(f *testing.F) {
	h := newTokens(f)
	token, err := h.Sign(string(wallet.TestAddress), "team")
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

func BenchmarkTokenVerify(b *testing.B) {
	for name, tokens := range map[string]int{
		"hit":  1,
		"miss": auth.MaxKnownTokens + 1, // In turn: the next one has always just been forgotten.
	} {
		b.Run(name, func(b *testing.B) {
			h := newTokens(b)
			signed := make([]string, tokens)
			for i := range signed {
				signed[i] = signToken(b, h)
				if _, err := h.Verify(signed[i]); err != nil {
					b.Fatal(err)
				}
			}
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Verify(signed[n%tokens]); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
	}
}
