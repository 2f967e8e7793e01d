package postgres

import (
	"context"
	"sync"
)

// turnstile lets one caller at a time through for each key. The lock that counts is in the database; with
// the callers of this process in line before it, an operator that spawns a hundred tasks at once occupies
// one connection and not the pool.
type turnstile struct {
	mu    sync.Mutex
	lines map[string]*line // GUARDED_BY(mu)
}

// line is the callers with one key.
type line struct {
	free    chan struct{} // Holds a token while nobody is inside.
	callers int           // GUARDED_BY(turnstile.mu); inside and waiting
}

// enter waits for the caller's turn and returns what ends it.
func (t *turnstile) enter(ctx context.Context, key string) (leave func(), err error) {
	t.mu.Lock()
	l := t.lines[key]
	if l == nil {
		l = &line{free: make(chan struct{}, 1)}
		l.free <- struct{}{}
		t.lines[key] = l
	}
	l.callers++
	t.mu.Unlock()

	select {
	case <-l.free:
		return func() {
			l.free <- struct{}{}
			t.forget(key, l)
		}, nil
	case <-ctx.Done():
		t.forget(key, l)
		return nil, ctx.Err()
	}
}

func (t *turnstile) forget(key string, l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.callers--
	if l.callers == 0 {
		delete(t.lines, key)
	}
}
