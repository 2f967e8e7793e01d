// Command embedder is a host service in a module of its own. It compiles only if everything that options
// ask a host for can be written outside of dixie's module.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"dixie"
)

type nonces struct{}

func (nonces) Put(context.Context, string, time.Duration) error { return nil }
func (nonces) Take(context.Context, string) (bool, error)       { return false, nil }

type tickets struct{}

func (tickets) Put(_ context.Context, _, _ string, _ time.Duration, maxUnused int) error {
	return fmt.Errorf("%d unused: %w", maxUnused, dixie.ErrTooManyTickets)
}
func (tickets) Take(context.Context, string) (string, bool, error) { return "", false, nil }

type allowlist struct{}

func (allowlist) AllowsWallet(string) bool { return true }
func (allowlist) AllowsKey(string) bool    { return false }
func (allowlist) List() dixie.AllowlistData {
	return dixie.AllowlistData{Policy: &dixie.AccessPolicy{Type: "role_based"}}
}
func (allowlist) Close() error { return nil }
func (a allowlist) Add(_ context.Context, kind dixie.EntryKind, _ string) (dixie.AllowlistData, error) {
	if kind != dixie.EntryWallet && kind != dixie.EntryAPIKey {
		return dixie.AllowlistData{}, dixie.ErrInvalidEntry
	}
	return a.List(), nil
}
func (allowlist) Remove(context.Context, string) (dixie.AllowlistData, error) {
	return dixie.AllowlistData{}, dixie.ErrNotListed
}

type limiter struct{}

func (limiter) Allow(_ context.Context, _ string, limit int) (dixie.RateDecision, error) {
	return dixie.RateDecision{Allowed: true, Limit: limit, Remaining: limit}, nil
}

type sessions struct{}

func (sessions) Create(context.Context, dixie.Session) error { return nil }
func (sessions) Get(_ context.Context, id string) (dixie.Session, error) {
	return dixie.Session{ID: id}, dixie.ErrSessionNotFound
}
func (sessions) Touch(context.Context, string, time.Time) error             { return dixie.ErrSessionNotFound }
func (sessions) List(context.Context, string, int) ([]dixie.Session, error) { return nil, nil }

type turns struct{}

func (turns) Acquire(ctx context.Context, _ string) (func(), error) {
	if ctx.Err() != nil {
		return nil, errors.Join(dixie.ErrBusy, context.Cause(ctx))
	}
	return func() {}, nil
}

type relay struct{}

func (relay) Watch(context.Context, string, func([]byte)) (func(), error) { return func() {}, nil }
func (relay) Publish(context.Context, string, []byte) (int, error)        { return 0, nil }
func (relay) Watchers(context.Context, string) (int, error)               { return 0, nil }
func (relay) OnWatch(func(string)) func()                                 { return func() {} }

func main() {
	h, err := dixie.New(
		dixie.WithEnvironment(dixie.Development),
		dixie.WithAuth(dixie.AuthConfig{Nonces: nonces{}, Tickets: tickets{}}),
		dixie.WithAllowlist(allowlist{}),
		dixie.WithRateLimit(dixie.RateLimitConfig{Limiter: limiter{}}),
		dixie.WithChat(dixie.ChatConfig{
			Sessions: sessions{}, Lock: turns{}, Relay: relay{},
			OnInteraction: func(_ context.Context, i dixie.Interaction) { fmt.Fprintln(os.Stderr, i.SessionID) },
		}),
		dixie.WithDependency(dixie.Dependency{Name: "host", Check: func(context.Context) error { return nil }}),
		dixie.WithPayment(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if p := dixie.PrincipalFrom(r.Context()); p.Kind != dixie.PrincipalNone {
					next.ServeHTTP(w, r)
				}
			})
		}),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := h.Shutdown(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("assembled", dixie.Version)
}
