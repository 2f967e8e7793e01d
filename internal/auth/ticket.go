package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// TicketTTL is how long a WebSocket ticket can be used.
const TicketTTL = 30 * time.Second

const (
	ticketPrefix      = "wst_"
	ticketBytes       = 24
	unusedPerWallet   = 5
	unusedTicketsKept = 10_000
)

// Errors of tickets.
var (
	// ErrTooManyTickets says that a wallet has as many unused tickets as it may have.
	ErrTooManyTickets = errors.New("auth: too many unused tickets")
	// ErrTicketStore says that the ticket store is out of order or full.
	ErrTicketStore = errors.New("auth: ticket store unavailable")
)

// TicketStore remembers unused tickets by their hash. Implementations are safe for concurrent use.
type TicketStore interface {
	// Put remembers a ticket of a wallet for ttl, or fails with [ErrTooManyTickets] when the wallet
	// has maxUnused unexpired ones.
	Put(ctx context.Context, hash, wallet string, ttl time.Duration, maxUnused int) error
	// Take forgets the ticket, also when it has expired, and returns its wallet if it was good.
	Take(ctx context.Context, hash string) (wallet string, ok bool, err error)
}

// Tickets issues and redeems WebSocket tickets: a browser cannot set headers on an upgrade, and a token
// in a URL would live in logs for an hour. The store sees only hashes.
type Tickets struct{ store TicketStore }

// NewTickets keeps its tickets in store.
func NewTickets(store TicketStore) *Tickets { return &Tickets{store} }

// Issue makes a ticket for a wallet. It fails with [ErrTooManyTickets] or [ErrTicketStore].
func (t *Tickets) Issue(ctx context.Context, walletAddress string) (string, error) {
	var random [ticketBytes]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("auth: random ticket: %w", err)
	}
	ticket := ticketPrefix + hex.EncodeToString(random[:])
	err := t.store.Put(ctx, ticketHash(ticket), walletAddress, TicketTTL, unusedPerWallet)
	if err != nil && !errors.Is(err, ErrTooManyTickets) {
		err = fmt.Errorf("%w: %w", ErrTicketStore, err)
	}
	if err != nil {
		return "", err
	}
	return ticket, nil
}

// Redeem uses a ticket up and returns the wallet it was issued to. It fails with [ErrTicketStore].
func (t *Tickets) Redeem(ctx context.Context, ticket string) (walletAddress string, ok bool, err error) {
	if !strings.HasPrefix(ticket, ticketPrefix) || len(ticket) != len(ticketPrefix)+2*ticketBytes {
		return "", false, nil
	}
	walletAddress, ok, err = t.store.Take(ctx, ticketHash(ticket))
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", ErrTicketStore, err)
	}
	return walletAddress, ok, nil
}

func ticketHash(ticket string) string {
	sum := sha256.Sum256([]byte(ticket))
	return hex.EncodeToString(sum[:])
}

// MemoryTickets keeps at most 10,000 unused tickets in the process; beyond that it refuses. Each wallet has
// a few at most, so only very many wallets together can fill it.
type MemoryTickets struct {
	mu sync.Mutex
	// tickets has them by hash, oldest first: nothing is looked up but to be removed.
	tickets *simplelru.LRU[string, heldTicket] // GUARDED_BY(mu)
	unused  map[string]int                     // GUARDED_BY(mu); by wallet
}

var _ TicketStore = (*MemoryTickets)(nil)

type heldTicket struct {
	wallet  string
	expires time.Time
}

// NewMemoryTickets makes an empty store.
func NewMemoryTickets() *MemoryTickets {
	m := &MemoryTickets{unused: make(map[string]int)}
	m.tickets, _ = simplelru.NewLRU(unusedTicketsKept, m.removed) // It fails on a size of zero or less, and on nothing else.
	return m
}

// Put implements [TicketStore].
func (m *MemoryTickets) Put(_ context.Context, hash, walletAddress string, ttl time.Duration, maxUnused int) error {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tickets.Remove(hash)
	// Every ticket lives equally long, so the oldest expires first.
	for _, held, ok := m.tickets.GetOldest(); ok && !now.Before(held.expires); _, held, ok = m.tickets.GetOldest() {
		m.tickets.RemoveOldest()
	}
	if m.unused[walletAddress] >= maxUnused {
		return ErrTooManyTickets
	}
	if m.tickets.Len() >= unusedTicketsKept {
		return ErrTicketStore
	}
	m.tickets.Add(hash, heldTicket{walletAddress, now.Add(ttl)})
	m.unused[walletAddress]++
	return nil
}

// Take implements [TicketStore]. A used ticket that kept its place would count against everybody's bound.
func (m *MemoryTickets) Take(_ context.Context, hash string) (string, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held, ok := m.tickets.Peek(hash)
	m.tickets.Remove(hash)
	if !ok || !time.Now().Before(held.expires) {
		return "", false, nil
	}
	return held.wallet, true, nil
}

// removed requires mu. It is called for each ticket that goes.
func (m *MemoryTickets) removed(_ string, held heldTicket) {
	m.unused[held.wallet]--
	if m.unused[held.wallet] <= 0 {
		delete(m.unused, held.wallet)
	}
}
