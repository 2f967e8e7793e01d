package chat

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultMaxSessions is how many sessions [NewMemorySessions] keeps when it is not told.
	DefaultMaxSessions = 10_000
	// MaxPerOwner is how many sessions [MemorySessions] keeps for one owner, so that nobody can crowd
	// out the others alone.
	MaxPerOwner = 1000
)

// MemorySessions is a [SessionStore] that ends with the process. It is bounded: when it is full, or its
// owner has [MaxPerOwner] sessions, the least recently active one goes. Its methods never block and fail
// only as documented.
type MemorySessions struct {
	limit int

	mu     sync.Mutex
	byID   map[string]*stored    // GUARDED_BY(mu)
	owners map[string]*list.List // GUARDED_BY(mu); of *stored, most recently active first
	recent *list.List            // GUARDED_BY(mu); likewise, of all owners
}

var _ SessionStore = (*MemorySessions)(nil)

// stored is a session with its places in the two lists.
type stored struct {
	session Session
	recent  *list.Element
	owned   *list.Element
}

// NewMemorySessions makes a store of at most limit sessions; 0 or less: [DefaultMaxSessions].
func NewMemorySessions(limit int) *MemorySessions {
	if limit <= 0 {
		limit = DefaultMaxSessions
	}
	return &MemorySessions{
		limit:  limit,
		byID:   make(map[string]*stored),
		owners: make(map[string]*list.List),
		recent: list.New(),
	}
}

// Ephemeral reports true: the sessions do not outlive the process.
func (m *MemorySessions) Ephemeral() bool { return true }

// Create implements [SessionStore].
func (m *MemorySessions) Create(_ context.Context, s Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, exists := m.byID[s.ID]; exists {
		return fmt.Errorf("%w: session exists already", ErrStoreUnavailable)
	}
	mine := m.owners[s.Owner]
	if mine == nil {
		mine = list.New()
		m.owners[s.Owner] = mine
	}
	e := &stored{session: s}
	e.recent, e.owned = m.recent.PushFront(e), mine.PushFront(e)
	m.byID[s.ID] = e
	if mine.Len() > MaxPerOwner {
		m.drop(mine.Back())
	}
	if m.recent.Len() > m.limit {
		m.drop(m.recent.Back())
	}
	return nil
}

// drop forgets the session of a place in either list.
func (m *MemorySessions) drop(at *list.Element) {
	e, ok := at.Value.(*stored)
	if !ok {
		return
	}
	delete(m.byID, e.session.ID)
	m.recent.Remove(e.recent)
	mine := m.owners[e.session.Owner]
	mine.Remove(e.owned)
	if mine.Len() == 0 {
		delete(m.owners, e.session.Owner)
	}
}

// Get implements [SessionStore].
func (m *MemorySessions) Get(_ context.Context, id string) (Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byID[id]
	if !ok {
		return Session{}, ErrSessionNotFound
	}
	return e.session, nil
}

// Touch implements [SessionStore].
func (m *MemorySessions) Touch(_ context.Context, id string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byID[id]
	if !ok {
		return ErrSessionNotFound
	}
	e.session.Turns++
	if at.After(e.session.LastActivity) {
		e.session.LastActivity = at
	}
	m.recent.MoveToFront(e.recent)
	m.owners[e.session.Owner].MoveToFront(e.owned)
	return nil
}

// List implements [SessionStore].
func (m *MemorySessions) List(_ context.Context, owner string, limit int) ([]Session, error) {
	m.mu.Lock()
	var out []Session
	if mine := m.owners[owner]; mine != nil {
		out = make([]Session, 0, mine.Len())
		for at := mine.Front(); at != nil; at = at.Next() {
			if e, ok := at.Value.(*stored); ok {
				out = append(out, e.session)
			}
		}
	}
	m.mu.Unlock()
	// The order of the list is that of the calls, which may differ from that of the times.
	slices.SortStableFunc(out, func(a, b Session) int {
		return cmp.Or(b.LastActivity.Compare(a.LastActivity), b.CreatedAt.Compare(a.CreatedAt))
	})
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}
