package auth_test

import (
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"dixie/internal/auth"
	"dixie/internal/wallet"
)

func TestAuditIsBounded(t *testing.T) {
	t.Parallel()
	const kept = 10_000
	logged := &lockedBuffer{}
	a := auth.NewAudit(slog.New(slog.NewTextHandler(logged, nil)))
	record := func(n int) {
		a.Record(t.Context(), auth.AuditEntry{
			RequestID: "r-" + strconv.Itoa(n), Allowed: n%2 == 0, Endpoint: "/api/chat", IP: "192.0.2.1",
			Identity: auth.Identity{Kind: auth.Wallet, Wallet: string(wallet.TestAddress), Role: "team"},
		})
	}
	for n := range kept {
		record(n)
	}
	if a.Len() != kept || logged.String() != "" {
		t.Fatalf("%d entries are kept; logged %.100q", a.Len(), logged.String())
	}
	record(kept)
	if a.Len() != kept/2+1 {
		t.Errorf("%d entries are kept after an overflow, want the newer half and one more", a.Len())
	}
	lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
	if len(lines) != kept/2 {
		t.Fatalf("%d entries went to the log, want %d", len(lines), kept/2)
	}
	for n, line := range map[int]string{0: lines[0], kept/2 - 1: lines[len(lines)-1]} {
		action := map[bool]string{true: "allowed", false: "denied"}[n%2 == 0]
		for _, part := range []string{
			"msg=audit_overflow", "request_id=r-" + strconv.Itoa(n) + " ", "action=" + action, "auth_type=jwt_wallet",
			"endpoint=/api/chat", "ip=192.0.2.1", "identity_hash=" + wallet.ShortHash("wallet:"+string(wallet.TestAddress)),
		} {
			if !strings.Contains(line, part) {
				t.Errorf("%q is not in %s", part, line)
			}
		}
	}
	if strings.Contains(strings.ToLower(logged.String()), strings.ToLower(string(wallet.TestAddress)[2:])) {
		t.Error("a wallet went to the log")
	}
	for n := range kept {
		record(n)
		if a.Len() > kept {
			t.Fatalf("%d entries are kept", a.Len())
		}
	}
}
