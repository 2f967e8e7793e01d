package chat

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"
)

// DefaultSessions bounds the sessions that [NewMemorySessions] keeps when it is given zero.
const DefaultSessions = 10_000

// MemorySessions keeps sessions in the process; the least recently active goes first.
type MemorySessions struct {
	mu       sync.Mutex
	max      int
	sessions map[string]*list.Element // GUARDED_BY(mu)
	recent   list.List                // GUARDED_BY(mu); Session, newest activity in front
}

var _ SessionStore = (*MemorySessions)(nil)

// NewMemorySessions keeps at most limit sessions (zero: [DefaultSessions]).
func NewMemorySessions(limit int) *MemorySessions {
	if limit <= 0 {
		limit = DefaultSessions
	}
	return &MemorySessions{max: limit, sessions: make(map[string]*list.Element)}
}

// Ephemeral says that the sessions do not outlive the process.
func (m *MemorySessions) Ephemeral() bool { return true }

// Create implements [SessionStore].
func (m *MemorySessions) Create(_ context.Context, s Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.sessions) >= m.max {
		oldest := m.recent.Back()
		delete(m.sessions, at(oldest).ID)
		m.recent.Remove(oldest)
	}
	m.sessions[s.ID] = m.recent.PushFront(s)
	return nil
}

// Get implements [SessionStore].
func (m *MemorySessions) Get(_ context.Context, id string) (Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.sessions[id]
	if !ok {
		return Session{}, ErrSessionNotFound
	}
	return at(e), nil
}

// Touch implements [SessionStore].
func (m *MemorySessions) Touch(_ context.Context, id string, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.sessions[id]; ok {
		s := at(e)
		s.LastActivity = now
		e.Value = s
		m.recent.MoveToFront(e)
	}
	return nil
}

// List implements [SessionStore].
func (m *MemorySessions) List(_ context.Context, owner string, limit int) ([]Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []Session
	for e := m.recent.Front(); e != nil && len(found) < limit; e = e.Next() {
		if s := at(e); s.Owner == owner {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b Session) int { return b.LastActivity.Compare(a.LastActivity) })
	return found, nil
}

func at(e *list.Element) Session {
	s, _ := e.Value.(Session)
	return s
}

// memoryLock is a TurnLock in the process. A session takes memory only while somebody holds or waits.
type memoryLock struct {
	mu    sync.Mutex
	lines map[string]*line // GUARDED_BY(mu)
}

type line struct {
	free  chan struct{} // holds a value while nobody has the lock
	users int
}

func newMemoryLock() *memoryLock { return &memoryLock{lines: make(map[string]*line)} }

// Acquire implements [TurnLock].
func (m *memoryLock) Acquire(ctx context.Context, sessionID string) (func(), error) {
	m.mu.Lock()
	l, ok := m.lines[sessionID]
	if !ok {
		l = &line{free: make(chan struct{}, 1)}
		l.free <- struct{}{}
		m.lines[sessionID] = l
	}
	l.users++
	m.mu.Unlock()
	select {
	case <-l.free:
		return func() {
			l.free <- struct{}{}
			m.leave(sessionID, l)
		}, nil
	case <-ctx.Done():
		m.leave(sessionID, l)
		return nil, context.Cause(ctx)
	}
}

func (m *memoryLock) leave(sessionID string, l *line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l.users--
	if l.users == 0 {
		delete(m.lines, sessionID)
	}
}
