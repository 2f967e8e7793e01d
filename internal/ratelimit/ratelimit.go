// Package ratelimit limits how often an identity may do something in a sliding minute. [Memory] keeps
// its counts in the process; another implementation of [Limiter] may share them between replicas.
package ratelimit

import (
	"container/list"
	"context"
	"hash/maphash"
	"sync"
	"time"
)

// Window is the time over which requests are counted.
const Window = time.Minute

// Decision is what a limiter says about one request.
type Decision struct {
	Allowed bool
	// Limit is the number of requests in a window, Remaining how many are left after this one.
	Limit, Remaining int
	// Reset is how long it takes until the oldest counted request leaves the window.
	Reset time.Duration
	// RetryAfter is how long a refused caller should wait: at least a second when refused, else zero.
	RetryAfter time.Duration
}

// Limiter counts requests. Implementations are safe for concurrent use. A limit of 0 or less means
// that there is none. An error says that the limiter itself is out of order.
type Limiter interface {
	Allow(ctx context.Context, identity string, limit int) (Decision, error)
}

const (
	// slots divide the window. A request is counted to its slot, so that a bucket's memory does not
	// grow with the limit; it leaves the window up to one slot late, never early.
	slots     = 60
	slotWidth = Window / slots
	shards    = 16
)

// DefaultIdentities bounds how many identities [NewMemory] tracks when it is given zero.
const DefaultIdentities = 10_000

// Memory is a Limiter in the process. It tracks a bounded number of identities, about 350 bytes each;
// the least recently seen goes first. Time is divided into slots of a second.
type Memory struct {
	seed   maphash.Seed
	shards [shards]shard
}

var _ Limiter = (*Memory)(nil)

type shard struct {
	mu      sync.Mutex
	max     int
	buckets map[string]*list.Element // GUARDED_BY(mu)
	recent  list.List                // GUARDED_BY(mu); front is the most recently seen
}

type bucket struct {
	identity string
	counts   [slots]uint16
	total    int
	// newest is the slot number, since the epoch, that was counted last.
	newest int64
}

// NewMemory tracks at most identities (zero: [DefaultIdentities]), 16 being the least that it can be told.
func NewMemory(identities int) *Memory {
	if identities <= 0 {
		identities = DefaultIdentities
	}
	m := &Memory{seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].max = max(1, identities/shards)
		m.shards[i].buckets = make(map[string]*list.Element)
	}
	return m
}

// Allow implements [Limiter]. It never fails.
func (m *Memory) Allow(_ context.Context, identity string, limit int) (Decision, error) {
	if limit <= 0 {
		return Decision{Allowed: true}, nil
	}
	limit = min(limit, maxLimit)
	now := time.Now()
	s := &m.shards[maphash.String(m.seed, identity)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bucket(identity)
	slot := now.UnixNano() / int64(slotWidth)
	b.slide(slot)
	d := Decision{Limit: limit}
	if b.total < limit {
		b.counts[slot%slots]++
		b.total++
		d.Allowed = true
	}
	d.Remaining = max(0, limit-b.total) // The limit may have been higher before.
	d.Reset = b.oldestLeaves(now)
	if !d.Allowed {
		d.RetryAfter = max(time.Second, d.Reset)
	}
	return d, nil
}

// maxLimit keeps a slot's count within its type.
const maxLimit = 1<<16 - 1

func (s *shard) bucket(identity string) *bucket {
	if e, ok := s.buckets[identity]; ok {
		s.recent.MoveToFront(e)
		return e.Value.(*bucket) //nolint:forcetypeassert,errcheck // The list holds nothing else.
	}
	if len(s.buckets) >= s.max {
		oldest := s.recent.Back()
		delete(s.buckets, s.recent.Remove(oldest).(*bucket).identity) //nolint:forcetypeassert,errcheck // As above.
	}
	b := &bucket{identity: identity}
	s.buckets[identity] = s.recent.PushFront(b)
	return b
}

// slide forgets what has left the window that ends with slot.
func (b *bucket) slide(slot int64) {
	if slot-b.newest >= slots {
		b.counts = [slots]uint16{}
		b.total = 0
	} else {
		for n := b.newest + 1; n <= slot; n++ {
			b.total -= int(b.counts[n%slots])
			b.counts[n%slots] = 0
		}
	}
	b.newest = max(slot, b.newest)
}

func (b *bucket) oldestLeaves(now time.Time) time.Duration {
	for n := b.newest - slots + 1; n <= b.newest; n++ {
		if b.counts[n%slots] > 0 {
			return time.Unix(0, (n+slots)*int64(slotWidth)).Sub(now)
		}
	}
	return 0
}
