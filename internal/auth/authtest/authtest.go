// Package authtest holds the stores of package auth to their descriptions. It is for tests only.
package authtest

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dixie/internal/auth"
)

// short is a time to live that a case can wait for, also where it really passes.
const short = time.Second

// Subject is an empty store under test.
type Subject[Store any] struct {
	// One and Other share what they keep, as the stores of two replicas do.
	One, Other Store
	// Advance lets time pass for both.
	Advance func(time.Duration)
}

type cases[Store any] map[string]func(*testing.T, Subject[Store])

// run runs each case in what arrange makes of it.
func (c cases[Store]) run(t *testing.T, arrange func(t *testing.T, test func(*testing.T, Subject[Store]))) {
	t.Helper()
	for name, test := range c {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrange(t, test)
		})
	}
}

// inParallel says how many of fifty parallel attempts succeed.
func inParallel(try func(n int) bool) int {
	var good atomic.Int32
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			if try(n) {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	return int(good.Load())
}

// Nonces runs the suite. For each case arrange makes an empty store and calls test with it.
func Nonces(t *testing.T, arrange func(t *testing.T, test func(*testing.T, Subject[auth.NonceStore]))) {
	t.Helper()
	cases[auth.NonceStore]{
		"ANonceIsTakenOnce":    aNonceIsTakenOnce,
		"OnlyWhatWasPutIsGood": onlyWhatWasPutIsGood,
		"NoncesExpire":         noncesExpire,
		"ANonceMayBePutAgain":  aNonceMayBePutAgain,
	}.run(t, arrange)
}

func putNonce(t *testing.T, s auth.NonceStore, nonce string, ttl time.Duration) {
	t.Helper()
	if err := s.Put(t.Context(), nonce, ttl); err != nil {
		t.Fatal(err)
	}
}

func takeNonce(t *testing.T, s auth.NonceStore, nonce string) bool {
	t.Helper()
	ok, err := s.Take(t.Context(), nonce)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func aNonceIsTakenOnce(t *testing.T, s Subject[auth.NonceStore]) {
	t.Helper()
	putNonce(t, s.One, "n", auth.NonceTTL)
	stores := []auth.NonceStore{s.One, s.Other}
	taken := inParallel(func(n int) bool {
		ok, err := stores[n%2].Take(t.Context(), "n")
		if err != nil {
			t.Error(err)
		}
		return ok
	})
	if taken != 1 {
		t.Errorf("%d of 50 parallel uses got it", taken)
	}
	if takeNonce(t, s.One, "n") || takeNonce(t, s.Other, "n") {
		t.Error("it was taken again")
	}
}

func onlyWhatWasPutIsGood(t *testing.T, s Subject[auth.NonceStore]) {
	t.Helper()
	putNonce(t, s.One, "nonce", auth.NonceTTL)
	for _, nonce := range []string{"", "n", "nonce ", "nonce\x00", "NONCE", "*", "nonce\r\nPING"} {
		if takeNonce(t, s.One, nonce) {
			t.Errorf("%q was taken", nonce)
		}
	}
	if !takeNonce(t, s.Other, "nonce") {
		t.Error("the one that was put is gone")
	}
}

func noncesExpire(t *testing.T, s Subject[auth.NonceStore]) {
	t.Helper()
	putNonce(t, s.One, "late", short)
	putNonce(t, s.One, "in time", auth.NonceTTL)
	s.Advance(short)
	if takeNonce(t, s.One, "late") {
		t.Error("good after its time")
	}
	if !takeNonce(t, s.One, "in time") {
		t.Error("gone early")
	}
	putNonce(t, s.One, "at once", 0)
	s.Advance(time.Millisecond)
	if takeNonce(t, s.Other, "at once") {
		t.Error("a nonce that lives for no time is good")
	}
}

func aNonceMayBePutAgain(t *testing.T, s Subject[auth.NonceStore]) {
	t.Helper()
	for range 3 {
		putNonce(t, s.One, "n", auth.NonceTTL)
	}
	if !takeNonce(t, s.One, "n") || takeNonce(t, s.One, "n") {
		t.Error("it counts more than once")
	}
}

// Tickets runs the suite. For each case arrange makes an empty store and calls test with it.
func Tickets(t *testing.T, arrange func(t *testing.T, test func(*testing.T, Subject[auth.TicketStore]))) {
	t.Helper()
	cases[auth.TicketStore]{
		"ATicketIsTakenOnce":       aTicketIsTakenOnce,
		"WalletsAreBounded":        walletsAreBounded,
		"WalletsAreBoundedAtOnce":  walletsAreBoundedAtOnce,
		"ExpiredTicketsFreeThem":   expiredTicketsFreeThem,
		"ATicketThatIsPutAgain":    aTicketThatIsPutAgain,
		"PlacesOutlastShorterOnes": placesOutlastShorterOnes,
	}.run(t, arrange)
}

const most = 5

// putTicket says whether the wallet may have another one.
func putTicket(t *testing.T, s auth.TicketStore, hash, wallet string, ttl time.Duration) bool {
	t.Helper()
	err := s.Put(t.Context(), hash, wallet, ttl, most)
	if err != nil && !isTooMany(err) {
		t.Fatal(err)
	}
	return err == nil
}

func takeTicket(t *testing.T, s auth.TicketStore, hash string) (string, bool) {
	t.Helper()
	wallet, ok, err := s.Take(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	if !ok && wallet != "" {
		t.Errorf("a ticket that is not good names %q", wallet)
	}
	return wallet, ok
}

func aTicketIsTakenOnce(t *testing.T, s Subject[auth.TicketStore]) {
	t.Helper()
	putTicket(t, s.One, "hash", "wallet", auth.TicketTTL)
	stores := []auth.TicketStore{s.One, s.Other}
	taken := inParallel(func(n int) bool {
		wallet, ok, err := stores[n%2].Take(t.Context(), "hash")
		if err != nil || ok && wallet != "wallet" {
			t.Errorf("%q, %v", wallet, err)
		}
		return ok
	})
	if taken != 1 {
		t.Errorf("%d of 50 parallel uses succeeded", taken)
	}
	if _, ok := takeTicket(t, s.Other, "never issued"); ok {
		t.Error("a ticket that was never issued was taken")
	}
}

func walletsAreBounded(t *testing.T, s Subject[auth.TicketStore]) {
	t.Helper()
	for n := range most {
		if !putTicket(t, s.One, strconv.Itoa(n), "w", auth.TicketTTL) {
			t.Fatalf("ticket %d was refused", n)
		}
	}
	if putTicket(t, s.Other, "one more", "w", auth.TicketTTL) {
		t.Error("one too many was admitted")
	}
	if _, ok := takeTicket(t, s.One, "one more"); ok {
		t.Error("the refused ticket is good")
	}
	if !putTicket(t, s.One, "another's", "another", auth.TicketTTL) {
		t.Error("another wallet was refused")
	}
	if wallet, ok := takeTicket(t, s.Other, "0"); wallet != "w" || !ok {
		t.Errorf("the first is %q, %v", wallet, ok)
	}
	if !putTicket(t, s.One, "instead", "w", auth.TicketTTL) {
		t.Error("a used ticket keeps its place")
	}
	if putTicket(t, s.One, "one more", "w", auth.TicketTTL) {
		t.Error("a used ticket frees more than its place")
	}
}

func walletsAreBoundedAtOnce(t *testing.T, s Subject[auth.TicketStore]) {
	t.Helper()
	stores := []auth.TicketStore{s.One, s.Other}
	admitted := inParallel(func(n int) bool {
		err := stores[n%2].Put(t.Context(), strconv.Itoa(n), "w", auth.TicketTTL, most)
		if err != nil && !isTooMany(err) {
			t.Error(err)
		}
		return err == nil
	})
	if admitted != most {
		t.Errorf("%d of 50 parallel tickets were admitted, want %d", admitted, most)
	}
}

func expiredTicketsFreeThem(t *testing.T, s Subject[auth.TicketStore]) {
	t.Helper()
	for n := range most {
		putTicket(t, s.One, strconv.Itoa(n), "w", short)
	}
	s.Advance(short)
	if _, ok := takeTicket(t, s.One, "0"); ok {
		t.Error("good after its time")
	}
	for n := range most {
		if !putTicket(t, s.One, "new"+strconv.Itoa(n), "w", auth.TicketTTL) {
			t.Errorf("ticket %d after all had expired was refused", n)
		}
	}
	if putTicket(t, s.One, "one more", "w", auth.TicketTTL) {
		t.Error("expired tickets free more than their places")
	}
}

func aTicketThatIsPutAgain(t *testing.T, s Subject[auth.TicketStore]) {
	t.Helper()
	for range most + 1 {
		if !putTicket(t, s.One, "same", "w", auth.TicketTTL) {
			t.Fatal("it counts more than once")
		}
	}
	for n := range most - 1 {
		if !putTicket(t, s.One, strconv.Itoa(n), "w", auth.TicketTTL) {
			t.Errorf("ticket %d beside it was refused", n)
		}
	}
	if putTicket(t, s.One, "one more", "w", auth.TicketTTL) {
		t.Error("it does not count")
	}
	if wallet, ok := takeTicket(t, s.One, "same"); wallet != "w" || !ok {
		t.Errorf("it is %q, %v", wallet, ok)
	}
	if _, ok := takeTicket(t, s.One, "same"); ok {
		t.Error("it is good twice")
	}
}

// placesOutlastShorterOnes: a ticket that expires later keeps its place when one that expires sooner has
// come after it.
func placesOutlastShorterOnes(t *testing.T, s Subject[auth.TicketStore]) {
	t.Helper()
	for n := range most {
		putTicket(t, s.One, strconv.Itoa(n), "w", auth.TicketTTL)
	}
	takeTicket(t, s.One, "0")
	if !putTicket(t, s.One, "short", "w", short) {
		t.Fatal("refused in the place of a used one")
	}
	s.Advance(short)
	for _, hash := range []string{"short", "1"} {
		if _, ok := takeTicket(t, s.Other, hash); ok != (hash == "1") {
			t.Errorf("ticket %s is good: %v", hash, ok)
		}
	}
	admitted := 0
	for n := range most {
		if putTicket(t, s.One, "new"+strconv.Itoa(n), "w", auth.TicketTTL) {
			admitted++
		}
	}
	if admitted != 2 {
		t.Errorf("%d more were admitted beside three unused ones, want 2", admitted)
	}
}

func isTooMany(err error) bool { return errors.Is(err, auth.ErrTooManyTickets) }
