package localfinn

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"dixie/finn"
)

// Bounds of what a Server remembers.
const (
	// MaxSessions is how many sessions are held.
	MaxSessions = 100
	// SessionIdle is how long a session is held without activity.
	SessionIdle = 30 * time.Minute
	// MaxDropped is how many ids of dropped sessions are remembered, so that
	// their sockets can be opened again.
	MaxDropped = 10_000
)

// registry holds the sessions. Dropping is done on the way: with a hundred
// entries a sweep costs less than a goroutine to look after.
type registry struct {
	mu      sync.Mutex
	byID    map[string]*session        // GUARDED_BY(mu)
	dropped *lru.LRU[string, struct{}] // GUARDED_BY(mu)
}

func newRegistry() *registry {
	dropped, _ := lru.NewLRU[string, struct{}](MaxDropped, nil) // It fails on a size of zero or less, and on nothing else.
	return &registry{byID: make(map[string]*session), dropped: dropped}
}

// create makes a session; ok is false when there is no room.
func (r *registry) create(now time.Time) (s *session, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.add(uuid.NewString(), now)
}

// get returns a session that is held, or nil.
func (r *registry) get(id string, now time.Time) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	return r.byID[id]
}

// resume returns the session, making it if it is not held, and marks it as
// active so that it is not dropped before its turn begins.
func (r *registry) resume(id string, now time.Time) (s *session, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	if s := r.byID[id]; s != nil {
		s.touch(now)
		return s, true
	}
	return r.add(id, now)
}

// attach returns the session with a socket booked on it, for which the caller
// must call detach. Only a session that is held or was dropped has sockets.
func (r *registry) attach(id string, l *listener, now time.Time) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	s := r.byID[id]
	if s == nil && finn.ValidSessionID(id) && r.dropped.Contains(id) {
		s, _ = r.add(id, now)
	}
	if s != nil {
		s.attach(l, now)
	}
	return s
}

// list returns the sessions held, newest activity first.
func (r *registry) list(now time.Time) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	out := make([]*session, 0, len(r.byID))
	for _, s := range r.byID {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *session) int {
		return cmp.Or(b.activity().Compare(a.activity()), cmp.Compare(a.id, b.id))
	})
	return out
}

// add requires mu.
func (r *registry) add(id string, now time.Time) (*session, bool) {
	r.sweep(now)
	if len(r.byID) >= MaxSessions && !r.evict() {
		return nil, false
	}
	s := newSession(id, now)
	r.byID[id] = s
	r.dropped.Remove(id)
	return s, true
}

// sweep requires mu.
func (r *registry) sweep(now time.Time) {
	for id, s := range r.byID {
		if s.idle() && now.Sub(s.activity()) >= SessionIdle {
			r.drop(id)
		}
	}
}

// evict requires mu. It drops the least recently active idle session.
func (r *registry) evict() bool {
	var oldest *session
	for _, s := range r.byID {
		if s.idle() && (oldest == nil || s.activity().Before(oldest.activity())) {
			oldest = s
		}
	}
	if oldest == nil {
		return false
	}
	r.drop(oldest.id)
	return true
}

// drop requires mu.
func (r *registry) drop(id string) {
	delete(r.byID, id)
	r.dropped.Add(id, struct{}{})
}
