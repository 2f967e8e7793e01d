package chat

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// TurnLock keeps the turns of a session in line: Finn refuses a prompt while it answers another one of
// the same session. An implementation that several replicas share makes the rule hold across them.
type TurnLock interface {
	// Acquire waits until no other holder has the session and returns the function that gives it back,
	// which may be called from any goroutine and must be called exactly once. When ctx ends first, the
	// error is [ErrBusy] and wraps the cause. It is safe for concurrent use.
	Acquire(ctx context.Context, sessionID string) (release func(), err error)
}

// MaxWaiting is how many prompts may wait for one session in [MemoryLocks]; the next is refused at once.
const MaxWaiting = 16

// MemoryLocks is a [TurnLock] within the process: first come, first served. It holds memory only for
// sessions that are in use.
type MemoryLocks struct {
	mu    sync.Mutex
	lines map[string]*line // GUARDED_BY(mu)
}

var _ TurnLock = (*MemoryLocks)(nil)

// line is the queue of a session that has a holder. A channel is closed when its turn has come.
type line struct{ waiting []chan struct{} }

// NewMemoryLocks makes an empty set of locks.
func NewMemoryLocks() *MemoryLocks { return &MemoryLocks{lines: make(map[string]*line)} }

// Acquire implements [TurnLock]. With [MaxWaiting] prompts in line it returns [ErrBusy] at once.
func (m *MemoryLocks) Acquire(ctx context.Context, sessionID string) (func(), error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
	}
	release := sync.OnceFunc(func() { m.pass(sessionID) })
	m.mu.Lock()
	l := m.lines[sessionID]
	if l == nil {
		m.lines[sessionID] = &line{}
		m.mu.Unlock()
		return release, nil
	}
	if len(l.waiting) >= MaxWaiting {
		m.mu.Unlock()
		return nil, ErrBusy
	}
	called := make(chan struct{})
	l.waiting = append(l.waiting, called)
	m.mu.Unlock()

	select {
	case <-called:
		return release, nil
	case <-ctx.Done():
	}
	m.mu.Lock()
	at := slices.Index(l.waiting, called)
	if at >= 0 {
		l.waiting = slices.Delete(l.waiting, at, at+1)
	}
	m.mu.Unlock()
	if at < 0 {
		// It was called at the same moment; the next one must not wait for who has left.
		release()
	}
	return nil, fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
}

// pass hands the session to the next in line.
func (m *MemoryLocks) pass(sessionID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lines[sessionID]
	if len(l.waiting) == 0 {
		delete(m.lines, sessionID)
		return
	}
	close(l.waiting[0])
	l.waiting = slices.Delete(l.waiting, 0, 1)
}
