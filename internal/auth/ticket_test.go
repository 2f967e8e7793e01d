package auth_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dixie/internal/auth"
)

func issue(t *testing.T, tickets *auth.Tickets, wallet string) string {
	t.Helper()
	ticket, err := tickets.Issue(t.Context(), wallet)
	if err != nil {
		t.Fatalf("ticket for %s: %v", wallet, err)
	}
	return ticket
}

func TestTicketsAreBoundedPerWallet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		tickets := auth.NewTickets(auth.NewMemoryTickets())
		var issued []string
		for range 5 {
			ticket := issue(t, tickets, "w")
			if !regexp.MustCompile(`^wst_[0-9a-f]{48}$`).MatchString(ticket) {
				t.Errorf("ticket %q", ticket)
			}
			issued = append(issued, ticket)
		}
		if _, err := tickets.Issue(ctx, "w"); !errors.Is(err, auth.ErrTooManyTickets) {
			t.Errorf("the sixth: %v", err)
		}
		issue(t, tickets, "another")
		if w, ok, err := tickets.Redeem(ctx, issued[0]); w != "w" || !ok || err != nil {
			t.Errorf("redeem: %q %v %v", w, ok, err)
		}
		if _, ok, _ := tickets.Redeem(ctx, issued[0]); ok {
			t.Error("redeemed twice")
		}
		issue(t, tickets, "w") // In place of the used one.
		if _, err := tickets.Issue(ctx, "w"); !errors.Is(err, auth.ErrTooManyTickets) {
			t.Errorf("the sixth again: %v", err)
		}
		time.Sleep(auth.TicketTTL - time.Nanosecond) // fake clock
		if _, ok, _ := tickets.Redeem(ctx, issued[1]); !ok {
			t.Error("gone early")
		}
		time.Sleep(time.Nanosecond) // fake clock
		if _, ok, _ := tickets.Redeem(ctx, issued[2]); ok {
			t.Error("redeemed after its time")
		}
		for range 5 { // The others have expired.
			issue(t, tickets, "w")
		}
	})
}

func TestTicketsAreBoundedInAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tickets := auth.NewTickets(auth.NewMemoryTickets())
		for n := range 10_000 {
			issue(t, tickets, fmt.Sprint("w", n/5))
		}
		if _, err := tickets.Issue(t.Context(), "one more"); !errors.Is(err, auth.ErrTicketStore) {
			t.Errorf("ticket 10,001: %v", err)
		}
		if _, err := tickets.Issue(t.Context(), "w0"); !errors.Is(err, auth.ErrTooManyTickets) {
			t.Errorf("a sixth for a wallet in a full store: %v", err)
		}
		time.Sleep(auth.TicketTTL) // fake clock
		issue(t, tickets, "one more")
		issue(t, tickets, "w0")
	})
}

// TestUsedTicketsTakeNoRoom lets one wallet draw and use tickets while another has not used its own yet.
func TestUsedTicketsTakeNoRoom(t *testing.T) {
	t.Parallel()
	tickets := auth.NewTickets(auth.NewMemoryTickets())
	patient := issue(t, tickets, "patient")
	for range 11_000 {
		if _, ok, err := tickets.Redeem(t.Context(), issue(t, tickets, "busy")); !ok || err != nil {
			t.Fatalf("redeem: %v, %v", ok, err)
		}
	}
	issue(t, tickets, "a third")
	if w, ok, err := tickets.Redeem(t.Context(), patient); w != "patient" || !ok || err != nil {
		t.Errorf("the patient one: %q %v %v", w, ok, err)
	}
}

// deadTickets is a store that does not answer.
type deadTickets struct{}

func (deadTickets) Put(context.Context, string, string, time.Duration, int) error { return errDead }

func (deadTickets) Take(context.Context, string) (string, bool, error) { return "w", true, errDead }

func TestTicketStoreThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	tickets := auth.NewTickets(deadTickets{})
	if _, err := tickets.Issue(t.Context(), "w"); !errors.Is(err, auth.ErrTicketStore) || !errors.Is(err, errDead) {
		t.Errorf("Issue: %v", err)
	}
	good := "wst_" + strings.Repeat("0", 48)
	if w, ok, err := tickets.Redeem(t.Context(), good); ok || w != "" || !errors.Is(err, auth.ErrTicketStore) {
		t.Errorf("Redeem: %q, %v, %v", w, ok, err)
	}
	// What is no ticket is not worth a question.
	for _, ticket := range []string{"", "wst_", good + "0", good[1:], "x" + good[1:], strings.Repeat("w", 1<<20)} {
		if _, ok, err := tickets.Redeem(t.Context(), ticket); ok || err != nil {
			t.Errorf("%.60q: %v, %v", ticket, ok, err)
		}
	}
}
