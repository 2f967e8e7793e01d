package dixie_test

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dixie"
	"dixie/finn"
	"dixie/fleet"
	fleetmemory "dixie/fleet/memory"
	"dixie/governance"
	reputationmemory "dixie/reputation/memory"
)

// refused calls New with options that it must not take, and returns what it says.
func refused(t *testing.T, opts ...dixie.Option) string {
	t.Helper()
	h, err := dixie.New(append([]dixie.Option{dixie.WithEnvironment(dixie.Test)}, opts...)...)
	if err == nil {
		_ = h.Shutdown(t.Context())
		t.Fatal("accepted")
	}
	return err.Error()
}

// wantParts looks for what a text must hold.
func wantParts(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in %s", part, text)
		}
	}
}

// What options take, as hosts implement it.
type (
	hostAllowlist struct{ dixie.Allowlist }
	hostNonces    struct{ dixie.NonceStore }
	hostTickets   struct{ dixie.TicketStore }
	hostLimiter   struct{ dixie.RateLimiter }
	hostTiers     struct{ governance.TierCache }
	hostSessions  struct{ dixie.SessionStore }
	hostLock      struct{ dixie.TurnLock }
	hostRelay     struct{ dixie.TurnRelay }
)

// TestNilPointersAreRefused: what a constructor returned beside an error that nobody read is named, together with
// all else that is wrong, and not called.
func TestNilPointersAreRefused(t *testing.T) {
	t.Parallel()
	said := refused(t,
		dixie.WithAllowlist((*hostAllowlist)(nil)),
		dixie.WithAuth(dixie.AuthConfig{Nonces: (*hostNonces)(nil), Tickets: (*hostTickets)(nil)}),
		dixie.WithRateLimit(dixie.RateLimitConfig{Limiter: (*hostLimiter)(nil)}),
		dixie.WithGovernance(dixie.GovernanceConfig{Stakes: (*finn.Client)(nil), TierCache: (*hostTiers)(nil)}),
		dixie.WithFleet(dixie.FleetConfig{Store: (*fleetmemory.Store)(nil), Runner: fleet.RunnerFunc(nil), Workers: -1}),
		dixie.WithReputation(dixie.ReputationConfig{Store: (*reputationmemory.Store)(nil)}),
		dixie.WithChat(dixie.ChatConfig{Sessions: (*hostSessions)(nil), Lock: (*hostLock)(nil), Relay: (*hostRelay)(nil)}),
	)
	wantParts(t, said,
		"WithAllowlist: the allowlist is a nil *dixie_test.hostAllowlist",
		"WithAuth: Nonces is", "WithAuth: Tickets is", "WithRateLimit: Limiter is", "WithGovernance: Stakes is", "WithGovernance: TierCache is",
		"WithFleet: Store is a nil *memory.Store", "WithFleet: Runner is a nil fleet.RunnerFunc", "WithReputation: Store is",
		"WithChat: Sessions is", "WithChat: Lock is", "WithChat: Relay is",
		"Workers is negative")
	strict := refused(t, dixie.WithEnvironment(dixie.Production), dixie.WithFleet(dixie.FleetConfig{Store: (*fleetmemory.Store)(nil)}))
	wantParts(t, strict, "WithFleet: Store is a nil *memory.Store")
}

// TestFilesAndFinnAreChecked is about what was found out late: after the first problem, and with a Finn in the process
// already started.
func TestFilesAndFinnAreChecked(t *testing.T) {
	t.Parallel()
	malformed := filepath.Join(t.TempDir(), "allowlist.json")
	if err := os.WriteFile(malformed, []byte(`{"version":1,"wallets":["0x12"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	said := refused(t, logInto(&log),
		dixie.WithAllowlistFile(malformed, false),
		dixie.WithFinn(finn.Config{TurnTimeout: -1, Token: "a\nb"}),
		dixie.WithGovernance(dixie.GovernanceConfig{Admins: []string{"nobody"}}))
	wantParts(t, said, "WithAllowlistFile: ", malformed, "WithFinn: ", "TurnTimeout", "Token", "entry 1 of Admins")
	if started := log.String(); strings.Contains(started, "in-process Finn") {
		t.Errorf("a Finn was started: %s", started)
	}
	wantParts(t, refused(t, dixie.WithAllowlistFile(t.TempDir(), false)), "WithAllowlistFile: ")
	missing := dixie.WithAllowlistFile(filepath.Join(t.TempDir(), "absent.json"), true)
	start(t, nil, missing)
}

func TestPaymentCheckIsBuiltOnce(t *testing.T) {
	t.Parallel()
	built := 0
	none := dixie.WithPayment(func(http.Handler) http.Handler {
		built++
		return nil
	})
	// What it does stays, so it is asked when nothing else is wrong.
	if said := refused(t, none, dixie.WithFleet(dixie.FleetConfig{Workers: -1})); built != 0 {
		t.Errorf("built %d times: %s", built, said)
	}
	wantParts(t, refused(t, none), "WithPayment: the check returned no handler")
	built = 0
	start(t, nil, dixie.WithPayment(func(next http.Handler) http.Handler {
		built++
		return next
	}))
	if built != 1 {
		t.Errorf("built %d times", built)
	}
}

func TestNamesOfDependencies(t *testing.T) {
	t.Parallel()
	named := func(name string) dixie.Option {
		return dixie.WithDependency(dixie.Dependency{Name: name, Check: func(context.Context) error { return nil }})
	}
	long := strings.Repeat("x", 64)
	start(t, nil, named(long), named("my-cache_2.eu"))
	said := refused(t, named("loa_finn"), named("fleet-governor"), named("reputation"),
		named("a b"), named("line\nfeed"), named(`quo"te`), named("é"), named(long+"x"),
		dixie.WithDependency(dixie.Dependency{Name: "unchecked"}))
	wantParts(t, said, `"loa_finn" is in the reports`, `"fleet-governor" is`, `"reputation" is`,
		`the name "a b" is not`, `the name "line\nfeed" is not`, `the name "quo\"te" is not`,
		`the name "é" is not`, `xx" is not 1 to 64`, "name and check are required")
}

func TestTrustedProxiesAreNetworks(t *testing.T) {
	t.Parallel()
	said := refused(t, dixie.WithRateLimit(dixie.RateLimitConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), {}}}))
	wantParts(t, said, "entry 2 of TrustedProxies is not a network")
}
