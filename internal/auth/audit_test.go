package auth_test

import (
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"dixie/internal/auth"
	"dixie/internal/wallet"
	"dixie/spansanitizer"
)

func TestAuditIsBounded(t *testing.T) {
	t.Parallel()
	const kept = 10_000
	logged := &lockedBuffer{}
	a := auth.NewAudit(slog.New(slog.NewTextHandler(logged, nil)), spansanitizer.Hash)
	record := func(n int) {
		a.Record(auth.AuditEntry{
			RequestID: "r-" + strconv.Itoa(n), Allowed: n%2 == 0, Endpoint: "/api/chat", IP: "192.0.2.1",
			Kind: auth.Wallet, Owner: auth.Identity{Kind: auth.Wallet, Wallet: string(wallet.TestAddress)}.Owner(),
		})
	}
	for n := range kept {
		record(n)
	}
	if a.Len() != kept || logged.String() != "" {
		t.Fatalf("%d entries are kept; logged %.100q", a.Len(), logged.String())
	}
	// Each further decision drives out one, the oldest first, also after a whole round.
	const further = kept + 3
	for n := range further {
		record(kept + n)
		if a.Len() != kept {
			t.Fatalf("%d entries are kept after %d more, want %d", a.Len(), n+1, kept)
		}
	}
	lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
	if len(lines) != further {
		t.Fatalf("%d entries went to the log, want %d", len(lines), further)
	}
	for n, line := range lines {
		action := map[bool]string{true: "allowed", false: "denied"}[n%2 == 0]
		for _, part := range []string{
			"msg=audit_overflow", "request_id=r-" + strconv.Itoa(n) + " ", "action=" + action, "auth_type=jwt_wallet",
			"endpoint=/api/chat", "ip=192.0.2.1", "identity_hash=" + spansanitizer.Hash(string(wallet.TestAddress)),
		} {
			if !strings.Contains(line, part) {
				t.Fatalf("%q is not in %s", part, line)
			}
		}
	}
	if strings.Contains(strings.ToLower(logged.String()), strings.ToLower(string(wallet.TestAddress)[2:])) {
		t.Error("a wallet went to the log")
	}
}

// TestAuditConcurrently sees that no decision is lost or told twice.
func TestAuditConcurrently(t *testing.T) {
	t.Parallel()
	const kept, each = 10_000, 300
	logged := &lockedBuffer{}
	a := auth.NewAudit(slog.New(slog.NewTextHandler(logged, nil)), spansanitizer.Hash)
	inParallel(func() bool {
		for n := range each {
			a.Record(auth.AuditEntry{RequestID: strconv.Itoa(n)})
		}
		return true
	})
	if got, want := strings.Count(logged.String(), "msg=audit_overflow"), 50*each-kept; got != want || a.Len() != kept {
		t.Errorf("%d entries are kept and %d went to the log, want %d and %d", a.Len(), got, kept, want)
	}
}
