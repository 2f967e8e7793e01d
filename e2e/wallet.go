package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"dixie/internal/wallet"
)

// Caller is a wallet that has signed in.
type Caller struct {
	// Wallet is its address with the checksum of EIP-55.
	Wallet string
	// Token is its JWT.
	Token string
}

// HardhatKey is the published key of Hardhat's account 0, the test wallet that everybody knows.
func HardhatKey(t testing.TB) wallet.Key {
	t.Helper()
	key, err := wallet.ParseKey(wallet.TestKey)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// NewCaller makes a wallet that nobody has seen before, puts it on the allowlist for the time of the test
// and signs it in.
func (s *Service) NewCaller(t testing.TB) Caller {
	t.Helper()
	key, err := wallet.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s.Admit(t, key)
	return s.SignIn(t, key)
}

// Admit puts a wallet on the allowlist and takes it off when the test ends, or the run by [Service.Withdraw],
// unless it was there before: a published key must not stay on the list of an environment that people use.
func (s *Service) Admit(t testing.TB, key wallet.Key) {
	t.Helper()
	address := string(key.Address())
	before, _ := Read[struct {
		Wallets []string `json:"wallets"`
	}](t, s, http.StatusOK, Request{Method: http.MethodGet, Path: "/api/admin/allowlist", Token: s.config.AdminKey})
	if slices.Contains(before.Wallets, address) {
		return
	}
	takeOff := Request{Method: http.MethodDelete, Path: "/api/admin/allowlist/" + address, Token: s.config.AdminKey}
	s.Make(t, http.StatusCreated, Request{
		Method: http.MethodPost, Path: "/api/admin/allowlist", Token: s.config.AdminKey,
		Body: map[string]string{"type": "wallet", "value": address},
	}, func(Answer) []Request { return []Request{takeOff} })
	t.Cleanup(func() { s.TakeOut(t, takeOff) })
}

// SignIn fetches a nonce, signs it and exchanges it for a token.
func (s *Service) SignIn(t testing.TB, key wallet.Key) Caller {
	t.Helper()
	signedIn, _ := Read[struct {
		Token  string `json:"token"`
		Wallet string `json:"wallet"`
	}](t, s, http.StatusOK, Request{Method: http.MethodPost, Path: "/api/auth/siwe", Body: s.SignedMessage(t, key)})
	return Caller{Wallet: signedIn.Wallet, Token: signedIn.Token}
}

// SignedMessage is the body of a sign-in, with a nonce of the service that is good once.
func (s *Service) SignedMessage(t testing.TB, key wallet.Key) map[string]string {
	t.Helper()
	issued, answer := Read[struct {
		Nonce string `json:"nonce"`
	}](t, s, http.StatusOK, Request{Method: http.MethodGet, Path: "/api/auth/nonce"})
	if len(issued.Nonce) < 17 || strings.Trim(issued.Nonce, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		answer.Fatalf(t, "the nonce is too short or not alphanumeric")
	}
	origin, err := url.Parse(s.config.Origin)
	if err != nil {
		t.Fatal(err)
	}
	message := wallet.SignInMessage{
		Domain: origin.Host, URI: s.config.Origin, Address: key.Address(), Nonce: issued.Nonce, IssuedAt: time.Now(),
	}.String()
	signature, err := key.SignMessage(message)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"message": message, "signature": signature}
}
