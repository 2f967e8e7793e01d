package auth

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"dixie/internal/wallet"
)

// auditKept bounds the audit in memory; when it is full, the older half goes to the log.
const auditKept = 10_000

// AuditEntry is one access decision.
type AuditEntry struct {
	Time      time.Time
	RequestID string
	Identity  Identity
	Allowed   bool
	// Endpoint is the template of the route.
	Endpoint string
	IP       string
}

func (e AuditEntry) action() string {
	if e.Allowed {
		return "allowed"
	}
	return "denied"
}

// Audit keeps the newest access decisions in memory, about 2 MB at most, and hands older ones to the
// log. It keeps hashes of identities, not identities.
type Audit struct {
	log *slog.Logger

	mu      sync.Mutex
	entries []auditRecord // GUARDED_BY(mu); oldest first
}

type auditRecord struct {
	AuditEntry

	identity string
}

// NewAudit hands overflow to log.
func NewAudit(log *slog.Logger) *Audit { return &Audit{log: log} }

// Record notes a decision.
func (a *Audit) Record(ctx context.Context, e AuditEntry) {
	record := auditRecord{AuditEntry: e}
	if owner := e.Identity.Owner(); owner != "" {
		record.identity = wallet.ShortHash(owner)
	}
	record.Identity = Identity{Kind: e.Identity.Kind}

	a.mu.Lock()
	var overflow []auditRecord
	if len(a.entries) >= auditKept {
		overflow = a.entries[:auditKept/2]
		a.entries = append(make([]auditRecord, 0, auditKept), a.entries[auditKept/2:]...)
	}
	a.entries = append(a.entries, record)
	a.mu.Unlock()

	for _, o := range overflow {
		a.log.LogAttrs(ctx, slog.LevelInfo, "audit_overflow",
			slog.Time("at", o.Time), slog.String("request_id", o.RequestID), slog.String("identity_hash", o.identity),
			slog.String("auth_type", o.Identity.Kind.String()), slog.String("action", o.action()),
			slog.String("endpoint", o.Endpoint), slog.String("ip", o.IP))
	}
}

// Len is the number of decisions in memory.
func (a *Audit) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.entries)
}
