package redis

import (
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// NewQuickTurnLock is a TurnLock whose keys expire sooner and are renewed more often.
func NewQuickTurnLock(client goredis.UniversalClient, logger *slog.Logger, expiry, renewal time.Duration) *TurnLock {
	l := NewTurnLock(client, logger)
	l.expiry, l.renewal = expiry, renewal
	return l
}

// Channels is how many sessions the relay knows.
func (r *Relay) Channels() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.channels)
}
