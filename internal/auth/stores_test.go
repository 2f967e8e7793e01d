package auth_test

import (
	"testing"
	"testing/synctest"
	"time"

	"dixie/internal/auth"
	"dixie/internal/auth/authtest"
)

func advance(d time.Duration) {
	time.Sleep(d) // fake clock
}

func TestMemoryNonces(t *testing.T) {
	t.Parallel()
	authtest.Nonces(t, func(t *testing.T, test func(*testing.T, authtest.Subject[auth.NonceStore])) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			m := auth.NewMemoryNonces(0)
			test(t, authtest.Subject[auth.NonceStore]{One: m, Other: m, Advance: advance})
		})
	})
}

func TestMemoryTickets(t *testing.T) {
	t.Parallel()
	authtest.Tickets(t, func(t *testing.T, test func(*testing.T, authtest.Subject[auth.TicketStore])) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			m := auth.NewMemoryTickets()
			test(t, authtest.Subject[auth.TicketStore]{One: m, Other: m, Advance: advance})
		})
	})
}
