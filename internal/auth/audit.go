package auth

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// auditKept bounds the audit in memory; when it is full, the oldest decision makes room for each new one.
const auditKept = 10_000

// AuditEntry is one access decision.
type AuditEntry struct {
	Time      time.Time
	RequestID string
	// Kind is the kind of credential, Owner whose it is, as [Identity.Owner] says. The audit keeps a hash of Owner.
	Kind    Kind
	Owner   string
	Allowed bool
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

// Audit keeps the newest access decisions in memory, about 2 MB at most, and hands each one that makes room to
// the log, as audit_overflow. It keeps hashes of identities, not identities.
type Audit struct {
	log  *slog.Logger
	hash func(string) string

	mu sync.Mutex
	// entries is a ring once it is full: oldest is where the oldest is.
	entries []auditRecord // GUARDED_BY(mu)
	oldest  int           // GUARDED_BY(mu)
}

type auditRecord struct {
	AuditEntry

	identity string
}

// NewAudit hands overflow to log. An identity is told by its hash; that of a wallet is the wallet's, as in spans.
func NewAudit(log *slog.Logger, hash func(string) string) *Audit { return &Audit{log: log, hash: hash} }

// Record notes a decision. It writes a line of the log at most, which is about an earlier request than this one.
func (a *Audit) Record(e AuditEntry) {
	record := auditRecord{AuditEntry: e}
	if e.Owner != "" {
		record.identity = a.hash(strings.TrimPrefix(e.Owner, walletOwner))
	}
	record.Owner = ""
	if o, ok := a.keep(record); ok {
		a.log.LogAttrs(context.Background(), slog.LevelInfo, "audit_overflow",
			slog.Time("at", o.Time), slog.String("request_id", o.RequestID), slog.String("identity_hash", o.identity),
			slog.String("auth_type", o.Kind.String()), slog.String("action", o.action()),
			slog.String("endpoint", o.Endpoint), slog.String("ip", o.IP))
	}
}

// keep returns the record that made room, if one had to.
func (a *Audit) keep(record auditRecord) (overflow auditRecord, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.entries) < auditKept {
		a.entries = append(a.entries, record)
		return auditRecord{}, false
	}
	overflow, a.entries[a.oldest] = a.entries[a.oldest], record
	a.oldest = (a.oldest + 1) % auditKept
	return overflow, true
}
