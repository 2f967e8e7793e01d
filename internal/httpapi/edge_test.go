package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/auth"
	"dixie/internal/httpapi"
	"dixie/internal/wallet"
)

// TestSharedHeaderValues has a payment check that adds to headers whose values requests share: it must not add
// to anybody else's.
func TestSharedHeaderValues(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *httpapi.Config) {
		c.Payment = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for _, key := range []string{"Vary", "Access-Control-Expose-Headers", "X-Ratelimit-Limit"} {
					w.Header().Add(key, "X-Paid")
				}
				next.ServeHTTP(w, r)
			})
		}
		c.RatePerMinute = 100
	})
	token := e.token(t)
	for range 3 {
		got := e.do(t, http.MethodGet, "/api/nowhere", "", "Authorization", "Bearer "+token, "Origin", origin).Header()
		for key, want := range map[string][]string{
			"Vary":                             {"Origin", "X-Paid"},
			"X-Ratelimit-Limit":                {"100", "X-Paid"},
			"Access-Control-Allow-Origin":      {origin},
			"Access-Control-Allow-Credentials": {"true"},
		} {
			if diff := cmp.Diff(want, got.Values(key)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", key, diff)
			}
		}
		if len(got.Values("Access-Control-Expose-Headers")) != 2 || len(got.Values("X-Ratelimit-Remaining")) != 1 {
			t.Errorf("headers %v", got)
		}
	}
}

// TestVerifyTellsOfTheToken: who it is for, and when it ends, to the second.
func TestVerifyTellsOfTheToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := setup(t)
		token := e.token(t)
		ends := time.Now().Add(auth.TokenTTL)
		verify := func() answer {
			return e.do(t, http.MethodGet, "/api/auth/verify", "", "Authorization", "Bearer "+token)
		}
		for range 2 {
			var got struct {
				Wallet string `json:"wallet"`
				Role   string `json:"role"`
				Exp    int64  `json:"exp"`
			}
			w := verify()
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if w.Code != http.StatusOK || got.Wallet != string(wallet.TestAddress) || got.Role != "team" || got.Exp != ends.Unix() {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			time.Sleep(auth.TokenTTL / 3) // fake clock
		}
		time.Sleep(time.Until(ends)) // fake clock
		if w := verify(); w.Code != http.StatusUnauthorized || w.field("error") != "unauthorized" {
			t.Errorf("after its end: %d %s", w.Code, w.Body)
		}
	})
}

// TestAKnownTokenNeedsItsPlaceOnTheAllowlist: who is taken off the list is out at once, whatever is known of the token.
func TestAKnownTokenNeedsItsPlaceOnTheAllowlist(t *testing.T) {
	t.Parallel()
	list, err := auth.NewMemoryAllowlist([]string{string(wallet.TestAddress)}, []string{"dxk_12345678"})
	if err != nil {
		t.Fatal(err)
	}
	e := setup(t, func(c *httpapi.Config) { c.Allowlist = list })
	token := e.token(t)
	draw := func() answer { return e.do(t, http.MethodPost, "/api/ws/ticket", "", "Authorization", "Bearer "+token) }
	for range 2 {
		if got := draw(); got.Code != http.StatusOK {
			t.Errorf("on the list: %d %s", got.Code, got.Body)
		}
	}
	if _, err := list.Remove(t.Context(), string(wallet.TestAddress)); err != nil {
		t.Fatal(err)
	}
	if got := draw(); got.Code != http.StatusForbidden {
		t.Errorf("off the list: %d %s", got.Code, got.Body)
	}
}

// TestAdminKey: an empty one, or one that is like it, opens nothing.
func TestAdminKey(t *testing.T) {
	t.Parallel()
	for key, tries := range map[string]map[string]int{
		"":        {"": http.StatusForbidden, "x": http.StatusForbidden},
		"the-key": {"": http.StatusUnauthorized, "the-ke": http.StatusForbidden, "the-key": http.StatusOK, "The-Key": http.StatusForbidden},
	} {
		e := setup(t, func(c *httpapi.Config) { c.AdminKey = key })
		for tried, want := range tries {
			if got := e.do(t, http.MethodGet, "/api/admin/allowlist", "", "Authorization", "Bearer "+tried); got.Code != want {
				t.Errorf("%q for the key %q: %d, want %d", tried, key, got.Code, want)
			}
		}
	}
}

// unchangeable is an allowlist that fails to change.
type unchangeable struct {
	auth.Allowlist

	err error
}

func (u unchangeable) Add(context.Context, auth.EntryKind, string) (auth.AllowlistData, error) {
	return auth.AllowlistData{}, u.err
}

func (u unchangeable) Remove(context.Context, string) (auth.AllowlistData, error) {
	return auth.AllowlistData{}, u.err
}

// TestAllowlistCannotBeChanged: who asks for a change is told whether to ask again.
func TestAllowlistCannotBeChanged(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err        error
		status     int
		code       string
		retryAfter string
	}{
		{fmt.Errorf("connect: %w: %w", auth.ErrAllowlistStore, context.DeadlineExceeded), http.StatusServiceUnavailable, "service_unavailable", "5"},
		{fmt.Errorf("add: %w", auth.ErrAllowlistFull), http.StatusBadRequest, "invalid_request", ""},
	} {
		e := setup(t, func(c *httpapi.Config) {
			c.AdminKey = "the-key"
			c.Allowlist = unchangeable{auth.NewOpenAllowlist(), tc.err}
		})
		answers := []answer{e.do(t, http.MethodPost, "/api/admin/allowlist", `{"type":"apiKey","value":"dxk_12345678"}`, "Authorization", "Bearer the-key")}
		if tc.status == http.StatusServiceUnavailable { // A removal does not fill a list.
			answers = append(answers, e.do(t, http.MethodDelete, "/api/admin/allowlist/dxk_12345678", "", "Authorization", "Bearer the-key"))
		}
		for _, got := range answers {
			if got.Code != tc.status || got.field("error") != tc.code || got.Header().Get("Retry-After") != tc.retryAfter {
				t.Errorf("%v: %d, Retry-After %q, %s", tc.err, got.Code, got.Header().Get("Retry-After"), got.Body)
			}
		}
		if got := e.do(t, http.MethodGet, "/api/admin/allowlist", "", "Authorization", "Bearer the-key"); got.Code != http.StatusOK {
			t.Errorf("the listing: %d", got.Code)
		}
	}
}

// TestUnsafeIDs: what stands for an id in a path and is none is refused before anybody is asked about it.
func TestUnsafeIDs(t *testing.T) {
	t.Parallel()
	e := setup(t)
	token := e.token(t)
	for _, id := range []string{strings.Repeat("x", 129), "a.b", "a%20b", "a%2Fb", "%C3%A9", "-%7E"} {
		for _, path := range []string{"/api/sessions/" + id, "/api/fleet/tasks/" + id} {
			got := e.do(t, http.MethodGet, path, "", "Authorization", "Bearer "+token)
			if got.Code != http.StatusBadRequest || got.field("error") != "invalid_request" {
				t.Errorf("%s: %d %s", path, got.Code, got.Body)
			}
		}
	}
}
