package dixie

import (
	"dixie/internal/auth"
	"dixie/internal/chat"
	"dixie/internal/httpapi"
	"dixie/internal/ratelimit"
)

// Interfaces and values that options take. They are implemented by whoever shares state between
// replicas; without one, the process keeps the state in memory, within stated bounds.
type (
	// NonceStore remembers the nonces of sign-ins; see [WithAuth].
	NonceStore = auth.NonceStore
	// TicketStore remembers WebSocket tickets; see [WithAuth].
	TicketStore = auth.TicketStore
	// Allowlist says who may come in; see [WithAllowlist].
	Allowlist = auth.Allowlist
	// AllowlistData is the content of an [Allowlist].
	AllowlistData = auth.AllowlistData
	// RateLimiter counts requests; see [WithRateLimit].
	RateLimiter = ratelimit.Limiter
	// RateDecision is what a [RateLimiter] says about one request.
	RateDecision = ratelimit.Decision
	// SessionStore remembers who owns a chat session; see [WithChat].
	SessionStore = chat.SessionStore
	// TurnLock keeps the turns of one session in line; see [WithChat].
	TurnLock = chat.TurnLock
	// Interaction is a finished chat turn; see [WithChat].
	Interaction = chat.Interaction
	// Dependency is something whose state the health report shows; see [WithDependency].
	Dependency = httpapi.Dependency
)
