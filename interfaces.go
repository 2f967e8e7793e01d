package dixie

import (
	"dixie/internal/auth"
	"dixie/internal/chat"
	"dixie/internal/httpapi"
	"dixie/internal/ratelimit"
)

// Interfaces that options take. They are implemented by whoever shares state between replicas; without
// one, the process keeps the state in memory, within stated bounds. Every implementation must be safe
// for concurrent use, and returns, wrapped or not, the errors that its methods name.
type (
	// NonceStore remembers the nonces of sign-ins; see [WithAuth]:
	//
	//	Put(ctx context.Context, nonce string, ttl time.Duration) error
	//	Take(ctx context.Context, nonce string) (bool, error)
	//
	// Take forgets the nonce and says whether it was there and unexpired; of two callers with the same
	// nonce exactly one gets true.
	NonceStore = auth.NonceStore

	// TicketStore remembers WebSocket tickets by their hash; see [WithAuth]:
	//
	//	Put(ctx context.Context, hash, wallet string, ttl time.Duration, maxUnused int) error
	//	Take(ctx context.Context, hash string) (wallet string, ok bool, err error)
	//
	// Put fails with [ErrTooManyTickets] when the wallet has maxUnused unexpired ones. Take forgets the
	// ticket, also when it has expired, and returns its wallet if it was good.
	TicketStore = auth.TicketStore

	// Allowlist says who may come in; see [WithAllowlist]:
	//
	//	AllowsWallet(address string) bool
	//	AllowsKey(key string) bool
	//	List() AllowlistData
	//	Add(ctx context.Context, kind EntryKind, value string) (AllowlistData, error)
	//	Remove(ctx context.Context, entry string) (AllowlistData, error)
	//	Close() error
	//
	// The first two are asked on each request and answer without I/O; AllowsWallet gets EIP-55 addresses,
	// AllowsKey compares in constant time. Adding what is there already is no error; what is neither an
	// address nor a key is [ErrInvalidEntry], removing what is not there [ErrNotListed], one entry too many
	// [ErrAllowlistFull]; [ErrAllowlistStore] says that the list cannot be changed now.
	Allowlist = auth.Allowlist

	// RateLimiter counts requests; see [WithRateLimit]:
	//
	//	Allow(ctx context.Context, identity string, limit int) (RateDecision, error)
	//
	// The identity is "wallet:" and an EIP-55 address, "key:" and the hash of an API key, "admin", or, for callers
	// without any of these, "ip:" and an address, of IPv6 that of the /64. Before the nonces of sign-ins are handed
	// out, "nonce:ip:" and the address is counted besides, with a tenth of the limit, 10 at least. Wallets and addresses are
	// in clear, and personal data wherever an implementation keeps them: hash them in keys that outlive a minute or
	// two, and in logs.
	//
	// An error says that the limiter is out of order; the process then counts by itself.
	RateLimiter = ratelimit.Limiter

	// SessionStore remembers who owns a chat session; see [WithChat]:
	//
	//	Create(ctx context.Context, s Session) error
	//	Get(ctx context.Context, id string) (Session, error)
	//	Touch(ctx context.Context, id string, at time.Time) error
	//	List(ctx context.Context, owner string, limit int) ([]Session, error)
	//
	// Creating an id that exists is an error: it may be another owner's. Get and Touch fail with
	// [ErrSessionNotFound]; Touch books one more turn and never moves the last activity back. List is
	// ordered by last activity, newest first; a limit of 0 or less means all.
	SessionStore = chat.SessionStore

	// TurnLock keeps the turns of one session in line; see [WithChat]:
	//
	//	Acquire(ctx context.Context, sessionID string) (release func(), err error)
	//
	// It waits until nobody else has the session. The caller calls release exactly once, from any
	// goroutine. When ctx ends first, the error is [ErrBusy] and wraps the cause.
	TurnLock = chat.TurnLock

	// TurnRelay carries the events of turns to replicas whose clients watch the session; see [WithChat]. It
	// is best effort:
	//
	//	Watch(ctx context.Context, sessionID string, deliver func(message []byte)) (stop func(), err error)
	//	Publish(ctx context.Context, sessionID string, message []byte) (watchers int, err error)
	//	Watchers(ctx context.Context, sessionID string) (int, error)
	//	OnWatch(notify func(sessionID string)) (stop func())
	//
	// Watch delivers what other processes publish on the session from its return on, each publisher's
	// messages in order; after an error too, once the relay works again. Publish and Watchers tell how many
	// other processes watch, rather too many than too few. OnWatch has notify called when another process
	// has begun to watch a session, and, once the relay works again after a Publish or Watchers that
	// failed, for every session that others watch. Neither deliver nor notify blocks; stop does not wait for
	// them, and may be called again.
	TurnRelay = chat.Relay
)

// Values of these interfaces and of options.
type (
	// AllowlistData is the content of an [Allowlist]:
	//
	//	Version   int
	//	Wallets   []string // EIP-55
	//	APIKeys   []string
	//	UpdatedAt time.Time
	//	Policy    *AccessPolicy
	AllowlistData = auth.AllowlistData
	// AccessPolicy is a note within [AllowlistData]; nothing enforces it:
	//
	//	Type          string
	//	DurationHours int
	//	Roles         []string
	//	AuditRequired *bool
	//	Revocable     *bool
	AccessPolicy = auth.AccessPolicy
	// EntryKind is [EntryWallet] or [EntryAPIKey].
	EntryKind = auth.EntryKind
	// RateDecision is what a [RateLimiter] says about one request:
	//
	//	Allowed          bool
	//	Limit, Remaining int
	//	Reset            time.Duration // until the oldest counted request leaves the window
	//	RetryAfter       time.Duration // a second at least when refused
	RateDecision = ratelimit.Decision
	// Session is what a [SessionStore] remembers of a conversation:
	//
	//	ID           string
	//	Owner        string // "wallet:" and an address, or "key:" and the hash of an API key
	//	FirstMessage string // at most 200 characters
	//	CreatedAt    time.Time
	//	LastActivity time.Time
	//	Turns        int
	Session = chat.Session
	// Interaction is a finished chat turn; see [WithChat]:
	//
	//	Wallet    string // empty when an API key owns the session
	//	SessionID string
	//	MessageID string
	//	At        time.Time
	Interaction = chat.Interaction
	// Dependency is something whose state the health report shows; see [WithDependency]:
	//
	//	Name     string                      // unique, and as WithDependency wants it
	//	Check    func(context.Context) error // required; a nil error: it answers; heeds its context of two seconds
	//	Required bool                        // /readyz is 503 while Check fails
	Dependency = httpapi.Dependency
)

// The kinds of an allowlist's entries.
const (
	EntryWallet = auth.EntryWallet
	EntryAPIKey = auth.EntryAPIKey
)

// Errors that implementations of these interfaces return. Compare with [errors.Is].
var (
	// ErrTooManyTickets: the wallet has as many unused tickets as it may have. 429.
	ErrTooManyTickets = auth.ErrTooManyTickets
	// ErrInvalidEntry: the value is neither an address nor an API key. 400.
	ErrInvalidEntry = auth.ErrInvalidEntry
	// ErrNotListed: the entry is not on the allowlist. 404.
	ErrNotListed = auth.ErrNotListed
	// ErrAllowlistFull: there are as many entries of the kind as there may be, 20,000. 400.
	ErrAllowlistFull = auth.ErrAllowlistFull
	// ErrAllowlistStore: what keeps the list does not answer, so that it cannot be changed now. 503.
	ErrAllowlistStore = auth.ErrAllowlistStore
	// ErrSessionNotFound: there is no such session. 404.
	ErrSessionNotFound = chat.ErrSessionNotFound
	// ErrBusy: the session's earlier turns did not end in time. 503.
	ErrBusy = chat.ErrBusy
)
