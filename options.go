package dixie

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"dixie/finn"
	"dixie/fleet"
	"dixie/governance"
	"dixie/internal/auth"
	"dixie/internal/httpapi"
	"dixie/reputation"
	"dixie/spansanitizer"
)

// Environment is where a Handler runs. It decides how strict [New] is.
type Environment string

// The environments. Production is what a Handler runs in when nobody says otherwise.
const (
	Development Environment = "development"
	Test        Environment = "test"
	Staging     Environment = "staging"
	Production  Environment = "production"
)

// relaxed says whether missing secrets, stores and backends are filled in.
func (e Environment) relaxed() bool { return e == Development || e == Test }

// Option configures a [Handler]. Options are applied in order; a later one replaces an earlier one of the
// same name, except that [WithDependency] adds, and that there can be one allowlist only. What is wrong with any of them is reported by [New], all at once.
type Option func(*settings) error

type settings struct {
	environment  Environment
	logger       *slog.Logger
	auth         AuthConfig
	allowlist    Allowlist
	ownAllowlist func(*slog.Logger) (Allowlist, error)
	ownListPath  string // of ownAllowlist
	finn         finn.Config
	rate         RateLimitConfig
	governance   GovernanceConfig
	fleet        FleetConfig
	reputation   ReputationConfig
	chat         ChatConfig
	dependencies []Dependency
	payment      func(http.Handler) http.Handler
	tracer       spansanitizer.Tracer
	tracePolicy  *spansanitizer.Policy
	metrics      metric.MeterProvider
	metricsPage  http.Handler
}

// WithEnvironment says where the Handler runs. Default: [Production], in which every secret, store and
// backend must be given. In [Development] and [Test] what is missing is filled in, with a warning each:
// a random token secret, an in-process Finn, stores in memory, an allowlist that admits every wallet
// that signs in, and http://localhost:3001 and http://127.0.0.1:3001 as the origins. The warnings go to
// the logger of [WithLogger].
func WithEnvironment(e Environment) Option {
	return func(s *settings) error {
		switch e {
		case Development, Test, Staging, Production:
			s.environment = e
			return nil
		default:
			return fmt.Errorf("WithEnvironment: %q is not development, test, staging or production", e)
		}
	}
}

// WithLogger sends logs to l: an access line for each request, changes of the circuit, refused sign-ins.
// No line carries a wallet, token, key, prompt or signature. Lines of a request carry its request_id and, in a
// trace, its trace_id. Default, and nil: no logs.
func WithLogger(l *slog.Logger) Option {
	return func(s *settings) error {
		s.logger = l
		return nil
	}
}

// AuthConfig is about signing in.
type AuthConfig struct {
	// TokenSecret signs tokens with HS256: 32 bytes at least. Every replica needs the same one.
	TokenSecret []byte
	// AdminKey opens the admin routes; empty answers 403 on all of them. It must not begin as an API key
	// does, nor with or end in white space, which a header cannot carry.
	AdminKey string
	// Origins are the sites that people sign in from and pages may call from (CORS), as
	// "scheme://host[:port]". A signed message must name one of them.
	Origins []string
	// ChainIDs restricts the chains of signed messages; empty accepts any.
	ChainIDs []int64
	// Nonces is shared between replicas; nil keeps 10,000 unused nonces in memory.
	Nonces NonceStore
	// Tickets is shared between replicas; nil keeps 10,000 unused tickets in memory.
	Tickets TicketStore
}

// WithAuth configures signing in. TokenSecret and Origins are required outside of development and test.
func WithAuth(c AuthConfig) Option {
	return func(s *settings) error {
		s.auth = c
		return nil
	}
}

// WithAllowlist takes an allowlist. The caller keeps it and closes it after the Handler.
func WithAllowlist(a Allowlist) Option {
	return func(s *settings) error {
		if a == nil {
			return errors.New("WithAllowlist: the allowlist is nil")
		}
		if s.ownAllowlist != nil {
			return errors.New("WithAllowlist: there is an allowlist file already")
		}
		s.allowlist = a
		return nil
	}
}

// WithAllowlistFile reads the allowlist from a JSON file, follows changes to it and writes the admin's
// changes back. An absent file is an empty list. With poll set it looks every 30 s instead of watching
// the folder, which some file systems cannot. The Handler closes it.
func WithAllowlistFile(path string, poll bool) Option {
	return func(s *settings) error {
		if path == "" {
			return errors.New("WithAllowlistFile: the path is empty")
		}
		if s.allowlist != nil {
			return errors.New("WithAllowlistFile: there is an allowlist already")
		}
		s.ownListPath = path
		s.ownAllowlist = func(l *slog.Logger) (Allowlist, error) { return auth.OpenAllowlistFile(path, poll, l) }
		return nil
	}
}

// NewMemoryAllowlist keeps a list in the process. Wallets may be written in any case; keys are dxk_ and
// 8 to 124 characters of A-Z a-z 0-9 _ -.
func NewMemoryAllowlist(wallets, apiKeys []string) (Allowlist, error) {
	a, err := auth.NewMemoryAllowlist(wallets, apiKeys)
	if err != nil {
		return nil, fmt.Errorf("dixie: %w", err)
	}
	return a, nil
}

// WithFinn says where Finn is. Without a URL, development and test run one in the process, which repeats
// what it is told; elsewhere the URL is required. The Handler owns the client.
func WithFinn(c finn.Config) Option {
	return func(s *settings) error {
		s.finn = c
		return nil
	}
}

// RateLimitConfig is about how often a caller may call.
type RateLimitConfig struct {
	// PerMinute is the number of requests in a sliding minute for each wallet, API key or, for callers
	// without either, address. 0 is 100; -1 switches rate limiting off.
	PerMinute int
	// Limiter is shared between replicas; nil tracks 10,000 callers in memory.
	Limiter RateLimiter
	// TrustedProxies may name the client in X-Forwarded-For; empty trusts nobody, and the socket's
	// address counts.
	TrustedProxies []netip.Prefix
}

// DefaultRatePerMinute is the limit when none is given.
const DefaultRatePerMinute = 100

// WithRateLimit configures rate limiting.
func WithRateLimit(c RateLimitConfig) Option {
	return func(s *settings) error {
		if c.PerMinute < -1 || c.PerMinute > maxRatePerMinute {
			return fmt.Errorf("WithRateLimit: PerMinute is %d, not within -1 and %d", c.PerMinute, maxRatePerMinute)
		}
		for i, prefix := range c.TrustedProxies {
			if !prefix.IsValid() {
				return fmt.Errorf("WithRateLimit: entry %d of TrustedProxies is not a network", i+1)
			}
		}
		s.rate = c
		return nil
	}
}

const maxRatePerMinute = 10_000

// GovernanceConfig is about tiers and admission.
type GovernanceConfig struct {
	// Stakes tells what a wallet has staked; nil asks Finn.
	Stakes governance.StakeSource
	// TierCache is shared between replicas; nil keeps 10,000 tiers in memory.
	TierCache governance.TierCache
	// TierTTL is how long a resolved tier is used again; 0 is five minutes, -1 asks on each request.
	TierTTL time.Duration
	// Admins are wallets that count as sovereign.
	Admins []string
	// BudgetMicroUSD is what the tasks of a wallet may cost in a UTC day, in micro-USD; 0 is
	// [DefaultBudgetMicroUSD], -1 is nothing at all.
	BudgetMicroUSD int64
	// Witnesses judge whether a task is admitted; nil is tier, concurrency and budget.
	Witnesses []governance.Witness
}

// DefaultBudgetMicroUSD is the daily budget when none is given: ten cents.
const DefaultBudgetMicroUSD = 100_000

// WithGovernance configures tiers and admission.
func WithGovernance(c GovernanceConfig) Option {
	return func(s *settings) error {
		if c.TierTTL < -1 {
			return errors.New("WithGovernance: TierTTL is below -1")
		}
		if c.BudgetMicroUSD < -1 {
			return errors.New("WithGovernance: BudgetMicroUSD is below -1")
		}
		s.governance = c
		return nil
	}
}

// FleetConfig is about tasks that agents do on behalf of wallets.
type FleetConfig struct {
	// Store keeps tasks, their logs and the ledger, and dispatches their attempts. nil keeps them in
	// memory, which is refused outside of development and test. A store serves one Handler, once: Shutdown
	// stops it for good. Make a new one for the next Handler.
	Store fleet.Store
	// Runner does the work; nil makes each task a session at Finn.
	Runner fleet.Runner
	// Catalog says which agent and model does which type of task; nil is [fleet.DefaultCatalog].
	Catalog fleet.Catalog
	// Workers is how many attempts run at a time; 0 is [fleet.DefaultWorkers].
	Workers int
	// OnEvent is called after each change of a task that this Handler made, at most once; with a Store that
	// publishes events itself, for denials only. It must not block; nil is nobody.
	OnEvent func(context.Context, fleet.Event)
}

// WithFleet configures tasks.
func WithFleet(c FleetConfig) Option {
	return func(s *settings) error {
		s.fleet = c
		return nil
	}
}

// ReputationConfig is about what is known of agents.
type ReputationConfig struct {
	// Store keeps events and scores. nil keeps 50,000 events in memory, which is refused outside of
	// development and test. The Handler does not close it: what it works on, such as a pool, stays the
	// caller's, to be closed after the Handler.
	Store reputation.Store
	// CommitTimeout bounds one step of the store, in which concurrent recordings are kept together; 0 is
	// [reputation.DefaultCommitTimeout].
	CommitTimeout time.Duration
}

// WithReputation configures reputation.
func WithReputation(c ReputationConfig) Option {
	return func(s *settings) error {
		if c.CommitTimeout < 0 {
			return errors.New("WithReputation: CommitTimeout is negative")
		}
		s.reputation = c
		return nil
	}
}

// ChatConfig is about chat sessions.
type ChatConfig struct {
	// Sessions remembers who owns a session; nil keeps 10,000 in memory, which is refused outside of
	// development and test: an owner that is forgotten cannot read the session any more.
	Sessions SessionStore
	// Lock keeps the turns of a session in line across replicas; nil does so in this process.
	Lock TurnLock
	// Relay carries the events of turns to clients whose sockets are at other replicas; nil does not: they
	// miss what another replica's turns say.
	Relay TurnRelay
	// OnInteraction is called after each turn that succeeded. It must not block; a panic is logged and fails
	// nothing. nil is nobody.
	OnInteraction func(context.Context, Interaction)
}

// WithChat configures chat.
func WithChat(c ChatConfig) Option {
	return func(s *settings) error {
		s.chat = c
		return nil
	}
}

// WithDependency adds something outside of the process to the health report, and to /readyz when it is
// required. It may be given several times, with different names: 1 to 64 letters, digits, _, . and -, and none
// of "loa_finn", "fleet-governor" and "reputation", which reports have by themselves.
func WithDependency(d Dependency) Option {
	return func(s *settings) error {
		if d.Name == "" || d.Check == nil {
			return errors.New("WithDependency: name and check are required")
		}
		if httpapi.IsReserved(d.Name) {
			return fmt.Errorf("WithDependency: %q is in the reports by itself", d.Name)
		}
		if len(d.Name) > maxDependencyName || strings.ContainsFunc(d.Name, isNoNameCharacter) {
			return fmt.Errorf("WithDependency: the name %.100q is not 1 to %d of A-Z a-z 0-9 _ . -", d.Name, maxDependencyName)
		}
		for _, other := range s.dependencies {
			if other.Name == d.Name {
				return fmt.Errorf("WithDependency: %q is there already", d.Name)
			}
		}
		s.dependencies = append(s.dependencies, d)
		return nil
	}
}

// The name of a dependency is a key in a report and a label of metrics.
const (
	maxDependencyName = 64
	nameCharacters    = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
)

func isNoNameCharacter(r rune) bool { return !strings.ContainsRune(nameCharacters, r) }

// WithPayment puts a payment check between the allowlist and the tier: who has not paid is answered
// there, and [PrincipalFrom] tells who it is. Not behind it are /, /livez, /readyz, /metrics, health, signing in,
// the admin routes, /api/openapi.yaml, /api/reputation/population, and the WebSockets at /ws/chat/{sessionId},
// whose tickets are got behind it. [New] calls check once, with the Handler's inside, when nothing else is
// wrong, and refuses it when it returns nil. Default, and nil: everything passes.
func WithPayment(check func(http.Handler) http.Handler) Option {
	return func(s *settings) error {
		s.payment = check
		return nil
	}
}

// TracingConfig is about spans.
type TracingConfig struct {
	// Provider records spans; dixie/telemetry starts one that sends them to a collector. Of a provider of your own,
	// wrap the exporter by telemetry.NewExporter: it holds the spans of other libraries to the policy, too. nil,
	// and the API's no-op provider, is no tracing, at no cost.
	Provider trace.TracerProvider
	// Policy says what a span may carry, and how identities are hashed in spans and in the log; nil is that of the
	// specification. It should be the one that the provider's exporter has.
	Policy *spansanitizer.Policy
}

// WithTracing records spans: dixie.request around every request, dixie.auth around authentication,
// dixie.finn.inference around every call to Finn, dixie.reputation.update around the recording of an event,
// dixie.fleet.spawn around the spawning of a task, and dixie.governance.check around each decision on one. A
// task runs in the trace of its spawn. A client's trace context (W3C) is continued, and goes on to Finn, without
// tracing too; answers name the request's span in traceparent, x-trace-id and x-span-id. What a span may carry
// is decided by package spansanitizer. The caller shuts the provider down, after the Handler. Default: no
// tracing.
func WithTracing(c TracingConfig) Option {
	return func(s *settings) error {
		s.tracer, s.tracePolicy = spansanitizer.NewTracer(c.Provider, c.Policy), c.Policy
		return nil
	}
}

// WithMetricsPage serves h, such as the Handler of telemetry.Metrics, at GET /metrics to whoever has the admin key: 401
// without a credential and 403 with another one, each within the rate limit and with a line in the log, as for every
// path of the admin. Default: there is no such path.
func WithMetricsPage(h http.Handler) Option {
	return func(s *settings) error {
		if h == nil {
			return errors.New("WithMetricsPage: the handler is nil")
		}
		s.metricsPage = h
		return nil
	}
}

// WithMetrics measures by the provider's meter "dixie": requests, calls to Finn, admissions, tasks, reputation,
// limits, sign-ins, streams and dependencies; docs/observability.md lists them. No attribute has a value that a
// client can choose. The provider stays the caller's. Two Handlers want one each: what is counted by events would add
// up, but what is looked up (tasks, dependencies, the circuit) would be that of one of them. Default, and
// nil: nothing is measured, and requests pay nothing for it.
func WithMetrics(p metric.MeterProvider) Option {
	return func(s *settings) error {
		s.metrics = p
		return nil
	}
}
