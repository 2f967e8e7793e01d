package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"dixie/internal/auth"
)

// Tickets keeps WebSocket tickets: the wallet under ws:ticket:{hash}, and per wallet its unused tickets in
// the sorted set ws:tickets:{wallet}, by the time they expire. It is safe for concurrent use. Each call is
// one script.
type Tickets struct {
	client    goredis.UniversalClient
	put, take *goredis.Script
}

var _ auth.TicketStore = (*Tickets)(nil)

// A ticket that is put again, as by a retry whose first attempt did arrive, has its place already.
const putTicket = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wallet, hash, ttl, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if not redis.call('ZSCORE', KEYS[2], hash) and redis.call('ZCARD', KEYS[2]) >= most then
  return 0
end
redis.call('SET', KEYS[1], wallet, 'PX', ttl)
redis.call('ZADD', KEYS[2], now + ttl, hash)
if redis.call('PTTL', KEYS[2]) < ttl then
  redis.call('PEXPIRE', KEYS[2], ttl)
end
return 1`

const takeTicket = `
local wallet = redis.call('GETDEL', KEYS[1])
if wallet then
  redis.call('ZREM', ARGV[1] .. wallet, ARGV[2])
end
return wallet`

// NewTickets keeps tickets through client, which the caller closes.
func NewTickets(client goredis.UniversalClient) *Tickets {
	return &Tickets{client: client, put: goredis.NewScript(putTicket), take: goredis.NewScript(takeTicket)}
}

// Put implements dixie.TicketStore. It fails with dixie.ErrTooManyTickets or an error of Redis.
func (s *Tickets) Put(ctx context.Context, hash, walletAddress string, ttl time.Duration, maxUnused int) error {
	keys := []string{ticketKey(hash), walletTickets + walletAddress}
	kept, err := s.put.Run(ctx, s.client, keys, walletAddress, hash, expiry(ttl).Milliseconds(), maxUnused).Bool()
	if err != nil {
		return fmt.Errorf("redis: put a ticket: %w", err)
	}
	if !kept {
		return auth.ErrTooManyTickets
	}
	return nil
}

// Take implements dixie.TicketStore.
func (s *Tickets) Take(ctx context.Context, hash string) (walletAddress string, ok bool, err error) {
	walletAddress, err = s.take.Run(ctx, s.client, []string{ticketKey(hash)}, walletTickets, hash).Text()
	if errors.Is(err, goredis.Nil) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("redis: take a ticket: %w", err)
	}
	return walletAddress, true, nil
}

const walletTickets = "ws:tickets:"

func ticketKey(hash string) string { return "ws:ticket:" + hash }
