// Package httpapi is the HTTP edge of dixie: the middleware chain and one file for each resource.
// A handler decodes the request, calls one service method and encodes the answer; decisions are made
// elsewhere. It is the only package that knows the JSON bodies. An [API] is safe for concurrent use
// and owns nothing it is given: whoever opened a store or client closes it.
package httpapi

// HANDLER GUIDE
//
// A handler is a method `func (a *API) verbNoun(w http.ResponseWriter, r *http.Request) error` in the
// file of its resource and is listed in routes.go. It
//   - takes who calls from callerWallet(r) (a wallet) or callerOwner(r) (a wallet or an API key);
//     each returns an error to hand back as it is;
//   - reads path ids with pathID(r, "name"), which refuses what is not a safe identifier with 400;
//   - reads bodies with decodeJSON(r, &body): one bounded read, then decoding, 400, 413 or,
//     when the body takes too long, 503; fields that body does not have are ignored;
//   - answers with writeJSON(w, status, value) and returns nil, or returns an error and writes
//     nothing. toAPIError in errors.go maps the domain's sentinels to status and code; a handler
//     makes its own with invalid("text") or &apiError{...} where no sentinel says it.
//
// Facts about the request are in exchangeFrom(r.Context()): request id, identity, tier, client address.

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"dixie/finn"
	"dixie/fleet"
	"dixie/governance"
	"dixie/internal/auth"
	"dixie/internal/chat"
	"dixie/internal/instruments"
	"dixie/internal/ratelimit"
	"dixie/internal/wallet"
	"dixie/reputation"
	"dixie/spansanitizer"
)

// ProtocolVersion is sent as X-Protocol-Version on every response.
const ProtocolVersion = "8.2.0"

// ServiceName is the name that logs, tokens and the service information carry.
const ServiceName = "dixie-bff"

const (
	// maxBodyBytes bounds every request body, declared or streamed.
	maxBodyBytes = 100 << 10
	// requestTimeout bounds every request but chat turns and sockets, which have limits of their own.
	requestTimeout = 15 * time.Second
	// A caller may ask for one nonce for every nonceShare requests it may make, but for
	// minNoncesPerMinute at least, so that signing in stays possible under a small limit.
	nonceShare         = 10
	minNoncesPerMinute = 10
)

// Tokens issues and checks bearer tokens.
type Tokens interface {
	auth.TokenSigner
	auth.TokenVerifier
}

// SignIn issues nonces and verifies signed messages.
type SignIn interface {
	Nonce(ctx context.Context) (nonce string, expires time.Time, err error)
	Verify(ctx context.Context, message, signature string) (wallet.Address, error)
}

// Dependency is something outside the process whose state the health report shows.
type Dependency struct {
	// Name is the key in the report, for instance "postgresql".
	Name string
	// Check returns a nil error when the dependency answers. It gets at most two seconds, and must heed its context: until
	// it returns, or for a minute, no other check begins, and the dependency counts as away.
	Check func(context.Context) error
	// Required makes /readyz answer 503 while Check fails.
	Required bool
}

// Config is everything the edge needs. Every field without a stated meaning of its zero value is required.
type Config struct {
	Version string
	Logger  *slog.Logger
	// Origins are the allowed CORS origins, "scheme://host[:port]" each, matched exactly.
	Origins []string
	// AdminKey opens the admin routes; empty answers 403 on all of them.
	AdminKey string
	// RatePerMinute is the limit per identity; 0 switches rate limiting off.
	RatePerMinute int
	// Limiter is shared with other replicas; nil, and while it fails, this process counts by itself.
	Limiter ratelimit.Limiter
	// TrustedProxies may name the client in X-Forwarded-For; empty trusts nobody.
	TrustedProxies []netip.Prefix
	SignIn         SignIn
	Tokens         Tokens
	Allowlist      auth.Allowlist
	Audit          *auth.Audit
	Tickets        *auth.Tickets
	Tiers          *governance.Resolver
	Chat           *chat.Service
	Finn           *finn.Client
	Fleet          *fleet.Service
	Reputation     *reputation.Service
	// Dependencies are checked for /api/health and /readyz; may be empty.
	Dependencies []Dependency
	// Payment stands between the allowlist and the tier; nil passes everything.
	Payment func(http.Handler) http.Handler
	// Tracer puts spans around requests and around authentication; zero starts none.
	Tracer spansanitizer.Tracer
	// Metrics measures; nil does not.
	Metrics *instruments.Instruments
	// MetricsPage answers GET /metrics for the admin; nil: there is no such path.
	MetricsPage http.Handler
	// OpenAPI is the description served at /api/openapi.yaml.
	OpenAPI []byte
}

// API is the HTTP surface. Make one with [New].
type API struct {
	buffers buffers
	limiter *ratelimit.Memory
	// limiterAway says that the limiter of the configuration failed when it was asked last.
	limiterAway atomic.Bool
	// holding says that a stream could not be flushed.
	holding atomic.Bool
	// silent has the names of the dependencies and governors that did not answer when they were asked last.
	silent sync.Map
	// checks are those of dependencies that are under way, by name.
	checks     singleflight.Group
	cfg        Config
	mux        *http.ServeMux
	chain      http.Handler
	refusing   http.Handler
	origins    map[string]struct{}
	adminKey   auth.Secret
	nonceLimit int
	started    time.Time
	// templates are those of all routes.
	templates []string
	answers   dependencyAnswers

	requests gate
	sockets  gate
	// streams ends when draining has run out of patience; long-lived handlers watch it.
	streams    context.Context //nolint:containedctx // It is the life of the API, not of a request.
	endStreams context.CancelFunc
}

// New assembles the surface. The configuration must be complete: dixie.New has validated it.
func New(cfg Config) *API {
	a := &API{
		cfg:        cfg,
		mux:        http.NewServeMux(),
		limiter:    ratelimit.NewMemory(0),
		origins:    make(map[string]struct{}, len(cfg.Origins)),
		adminKey:   auth.NewSecret(cfg.AdminKey),
		nonceLimit: max(minNoncesPerMinute, cfg.RatePerMinute/nonceShare),
		started:    time.Now(),
	}
	for _, o := range cfg.Origins {
		a.origins[o] = struct{}{}
	}
	a.streams, a.endStreams = context.WithCancel(context.Background())
	a.registerRoutes()
	cfg.Metrics.Routes(a.templates)
	a.chain = a.outer(a.inner(a.mux))
	a.refusing = a.outer(a.handle(refuseDraining))
	return a
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	door := &a.requests
	if isSocketPath(r.URL.Path) {
		door = &a.sockets
	}
	if !door.enter() {
		a.refusing.ServeHTTP(w, r)
		return
	}
	defer door.leave()
	a.chain.ServeHTTP(w, r)
}
