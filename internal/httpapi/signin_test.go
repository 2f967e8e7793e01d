package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"dixie/internal/auth"
	"dixie/internal/httpapi"
	"dixie/internal/wallet"
)

// TestSignInsAreRefusedAlike has a message that holds but for one thing, and a nonce that was issued: no
// answer tells which thing it was.
func TestSignInsAreRefusedAlike(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	for name, tc := range map[string]struct {
		edit      func(m *wallet.SignInMessage)
		signature func(good string) string
		before    func(t *testing.T, e *edge, text, signature string)
	}{
		"signature of 0 bytes":  {signature: func(string) string { return "0x" }},
		"signature of 1 byte":   {signature: func(string) string { return "0x1b" }},
		"signature of 64 bytes": {signature: func(s string) string { return s[:130] }},
		"signature of 66 bytes": {signature: func(s string) string { return s + "00" }},
		"empty signature":       {signature: func(string) string { return "" }},
		"signature of 20 KiB":   {signature: func(s string) string { return s + strings.Repeat("0", 20<<10) }},
		"signature not hex":     {signature: func(s string) string { return s[:130] + "zz" }},
		"signature of zeros":    {signature: func(string) string { return "0x" + strings.Repeat("00", 65) }},
		"another's signature":   {signature: func(string) string { return sign(t, "another text") }},
		"another domain":        {edit: func(m *wallet.SignInMessage) { m.Domain = "evil.example" }},
		"another URI":           {edit: func(m *wallet.SignInMessage) { m.URI = "https://evil.example" }},
		"unknown nonce":         {edit: func(m *wallet.SignInMessage) { m.Nonce = strings.Repeat("a", 32) }},
		"expired message":       {edit: func(m *wallet.SignInMessage) { m.ExpirationTime = m.IssuedAt }},
		"message of the future": {edit: func(m *wallet.SignInMessage) { m.IssuedAt = m.IssuedAt.Add(6 * time.Minute) }},
		"not yet valid":         {edit: func(m *wallet.SignInMessage) { m.NotBefore = m.IssuedAt.Add(time.Minute) }},
		"expired nonce": {before: func(*testing.T, *edge, string, string) {
			time.Sleep(auth.NonceTTL) // fake clock
		}},
		"replay": {before: func(t *testing.T, e *edge, text, signature string) {
			t.Helper()
			if got := e.present(t, text, signature); got.Code != http.StatusOK {
				t.Errorf("the first use: %d %s", got.Code, got.Body)
			}
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := setup(t)
			m := message(e.nonce(t))
			if tc.edit != nil {
				tc.edit(&m)
			}
			signature := sign(t, m.String())
			if tc.signature != nil {
				signature = tc.signature(signature)
			}
			if tc.before != nil {
				tc.before(t, e, m.String(), signature)
			}
			got := e.present(t, m.String(), signature)
			if got.Code != http.StatusUnauthorized || got.field("error") != "invalid_signature" || got.field("token") != "" {
				t.Errorf("%s: %d %s", name, got.Code, got.Body)
			}
			texts[got.field("message")] = name
		})
	}
	if len(texts) != 1 {
		t.Errorf("the refusals differ: %v", texts)
	}
}

func TestOneOfParallelSignInsSucceeds(t *testing.T) {
	t.Parallel()
	e := setup(t)
	text := message(e.nonce(t)).String()
	signature := sign(t, text)
	var good, refused atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			switch got := e.present(t, text, signature); got.Code {
			case http.StatusOK:
				good.Add(1)
			case http.StatusUnauthorized:
				refused.Add(1)
			default:
				t.Errorf("%d %s", got.Code, got.Body)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 || refused.Load() != 19 {
		t.Errorf("%d succeeded and %d were refused, want 1 and 19", good.Load(), refused.Load())
	}
}

func TestBadTokensAreNobodys(t *testing.T) {
	t.Parallel()
	now := time.Now()
	mint := func(method jwt.SigningMethod, key any, edit func(jwt.MapClaims)) string {
		t.Helper()
		claims := jwt.MapClaims{
			"iss": "dixie-bff", "sub": string(wallet.TestAddress), "wallet": string(wallet.TestAddress), "role": "team",
			"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "x",
		}
		edit(claims)
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	as := func(edit func(jwt.MapClaims)) string { return mint(jwt.SigningMethodHS256, []byte(secret), edit) }
	unchanged := func(jwt.MapClaims) {}
	good := as(unchanged)
	parts := strings.Split(good, ".")
	other := strings.Split(as(func(c jwt.MapClaims) { c["role"] = "admin" }), ".")
	e := setup(t)
	for name, tc := range map[string]struct {
		token  string
		status int
	}{
		"good":         {good, http.StatusOK},
		"alg none":     {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + ".", http.StatusUnauthorized},
		"another alg":  {mint(jwt.SigningMethodHS512, []byte(secret), unchanged), http.StatusUnauthorized},
		"other secret": {mint(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), unchanged), http.StatusUnauthorized},
		"expired":      {as(func(c jwt.MapClaims) { c["exp"] = now.Add(-time.Second).Unix() }), http.StatusUnauthorized},
		"no exp":       {as(func(c jwt.MapClaims) { delete(c, "exp") }), http.StatusUnauthorized},
		"other issuer": {as(func(c jwt.MapClaims) { c["iss"] = "evil" }), http.StatusUnauthorized},
		"tampered":     {parts[0] + "." + other[1] + "." + parts[2], http.StatusUnauthorized},
		"no token":     {"", http.StatusUnauthorized},
	} {
		// The first tells of the token itself, the second what it opens.
		for _, route := range []struct{ method, path string }{{http.MethodGet, "/api/auth/verify"}, {http.MethodPost, "/api/ws/ticket"}} {
			got := e.do(t, route.method, route.path, "", "Authorization", "Bearer "+tc.token)
			if got.Code != tc.status || tc.status != http.StatusOK && got.field("error") != "unauthorized" {
				t.Errorf("%s, %s: %d %s", name, route.path, got.Code, got.Body)
			}
		}
	}
}

// TestNoncesPerAddressAreBounded counts whom a minute's nonces go to: a tenth of the general limit, ten at
// least, and nobody gets more by claiming other addresses or by having many.
func TestNoncesPerAddressAreBounded(t *testing.T) {
	t.Parallel()
	for limit, nonces := range map[int]int{20: 10, 300: 30} {
		synctest.Test(t, func(t *testing.T) {
			e := setup(t, func(c *httpapi.Config) {
				c.RatePerMinute = limit
				c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			})
			draw := func(headers ...string) int { return e.do(t, http.MethodGet, "/api/auth/nonce", "", headers...).Code }
			drawn := func(who string, n int, headers func(i int) []string) {
				t.Helper()
				for i := range n {
					if code := draw(headers(i)...); code != http.StatusOK {
						t.Errorf("%s, nonce %d of %d: %d", who, i, n, code)
					}
				}
				if code := draw(headers(n)...); code != http.StatusTooManyRequests {
					t.Errorf("%s, nonce %d: %d, want a refusal", who, n, code)
				}
			}
			drawn("one address", nonces, func(i int) []string {
				return []string{"From", fmt.Sprint("192.0.2.1:", 1000+i), "X-Forwarded-For", fmt.Sprint("198.51.100.", i)}
			})
			drawn("one IPv6 site", nonces, func(i int) []string { return []string{"From", fmt.Sprintf("[2001:db8::%x]:1", i+1)} })
			drawn("one behind a proxy", nonces, func(i int) []string {
				return []string{"From", "10.0.0.1:1", "X-Forwarded-For", fmt.Sprintf("198.51.100.%d, 203.0.113.9", i)}
			})
			if code := draw("From", "10.0.0.1:1", "X-Forwarded-For", "203.0.113.10"); code != http.StatusOK {
				t.Errorf("another behind the proxy: %d", code)
			}
			time.Sleep(time.Minute + time.Second) // fake clock
			if code := draw("From", "192.0.2.1:1"); code != http.StatusOK {
				t.Errorf("after a minute: %d", code)
			}
		})
	}
}

func TestTicketsPerWalletAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := setup(t)
		text := message(e.nonce(t)).String()
		token := e.present(t, text, sign(t, text)).field("token")
		draw := func() answer { return e.do(t, http.MethodPost, "/api/ws/ticket", "", "Authorization", "Bearer "+token) }
		for i := range 5 {
			if got := draw(); got.Code != http.StatusOK || !strings.HasPrefix(got.field("ticket"), "wst_") {
				t.Errorf("ticket %d: %d %s", i, got.Code, got.Body)
			}
		}
		got := draw()
		if got.Code != http.StatusTooManyRequests || got.field("error") != "rate_limited" || got.Header().Get("Retry-After") != "30" {
			t.Errorf("the sixth: %d %v %s", got.Code, got.Header(), got.Body)
		}
		time.Sleep(auth.TicketTTL) // fake clock
		if got := draw(); got.Code != http.StatusOK {
			t.Errorf("after the others have expired: %d %s", got.Code, got.Body)
		}
	})
}
