package auth_test

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dixie/internal/auth"
)

func putNonce(t *testing.T, m *auth.MemoryNonces, nonce string) {
	t.Helper()
	if err := m.Put(t.Context(), nonce, auth.NonceTTL); err != nil {
		t.Fatal(err)
	}
}

func takeNonce(t *testing.T, m *auth.MemoryNonces, nonce string) bool {
	t.Helper()
	ok, err := m.Take(t.Context(), nonce)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestNoncesAreRandomAndLiveForFiveMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSIWE(t)
		shape := regexp.MustCompile(`^[A-Za-z0-9]{32}$`)
		seen := map[string]bool{}
		for range 1000 {
			nonce, expires, err := s.Nonce(t.Context())
			if err != nil || !shape.MatchString(nonce) || seen[nonce] || !expires.Equal(time.Now().Add(5*time.Minute)) {
				t.Fatalf("nonce %q until %v, %v", nonce, expires, err)
			}
			seen[nonce] = true
		}
	})
}

func TestNoncesExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := auth.NewMemoryNonces(0)
		putNonce(t, m, "in time")
		putNonce(t, m, "late")
		time.Sleep(auth.NonceTTL - time.Nanosecond) // fake clock
		if !takeNonce(t, m, "in time") {
			t.Error("gone early")
		}
		time.Sleep(time.Nanosecond) // fake clock
		if takeNonce(t, m, "late") {
			t.Error("good after its time")
		}
	})
}

func TestNoncesAreBounded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ limit, bound int }{{0, 10_000}, {-1, 10_000}, {10, 10}, {1, 1}} {
		m := auth.NewMemoryNonces(tc.limit)
		for i := range tc.bound + 1 {
			putNonce(t, m, strconv.Itoa(i))
		}
		if m.Len() != tc.bound {
			t.Errorf("limit %d: %d nonces are kept, want %d", tc.limit, m.Len(), tc.bound)
		}
		if takeNonce(t, m, "0") || !takeNonce(t, m, "1") || tc.bound > 1 && !takeNonce(t, m, strconv.Itoa(tc.bound)) {
			t.Errorf("limit %d: not the oldest made room", tc.limit)
		}
	}
}

// TestUsedNoncesTakeNoRoom lets one caller sign in again and again while another reads its message.
func TestUsedNoncesTakeNoRoom(t *testing.T) {
	t.Parallel()
	m := auth.NewMemoryNonces(2)
	putNonce(t, m, "patient")
	for i := range 100 {
		nonce := strconv.Itoa(i)
		putNonce(t, m, nonce)
		if !takeNonce(t, m, nonce) {
			t.Fatalf("nonce %d is gone", i)
		}
	}
	if !takeNonce(t, m, "patient") {
		t.Error("used nonces have driven out an unused one")
	}
}

func TestExpiredNoncesAreSwept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := auth.NewMemoryNonces(0)
		for i := range 100 {
			putNonce(t, m, strconv.Itoa(i))
		}
		time.Sleep(auth.NonceTTL) // fake clock
		putNonce(t, m, "new")
		if m.Len() != 1 {
			t.Errorf("%d nonces are kept, want the new one", m.Len())
		}
	})
}

func TestANonceThatIsPutAgainCountsOnce(t *testing.T) {
	t.Parallel()
	m := auth.NewMemoryNonces(2)
	for range 3 {
		putNonce(t, m, "twice")
	}
	putNonce(t, m, "other")
	if m.Len() != 2 || !takeNonce(t, m, "twice") || takeNonce(t, m, "twice") || !takeNonce(t, m, "other") {
		t.Error("it counts more than once")
	}
}

// deadNonces is a store that does not answer.
type deadNonces struct{}

var errDead = errors.New("connection refused")

func (deadNonces) Put(context.Context, string, time.Duration) error { return errDead }
func (deadNonces) Take(context.Context, string) (bool, error)       { return true, errDead }

// TestANonceMustBeCertain: a store that does not answer refuses everybody, and is not the caller's fault.
func TestANonceMustBeCertain(t *testing.T) {
	t.Parallel()
	s, err := auth.NewSIWE(auth.SIWEConfig{Origins: []string{origin}}, deadNonces{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Nonce(t.Context()); !errors.Is(err, auth.ErrNonceStore) || !errors.Is(err, errDead) {
		t.Errorf("Nonce: %v", err)
	}
	text := message(strings.Repeat("a", 32)).String()
	_, err = s.Verify(t.Context(), text, sign(t, text))
	if !errors.Is(err, auth.ErrNonceStore) || errors.Is(err, auth.ErrSignIn) || auth.Reason(err) != "nonce_store" {
		t.Errorf("Verify: %v", err)
	}
}
