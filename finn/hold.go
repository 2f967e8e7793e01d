package finn

import (
	"errors"
	"sync"
	"time"
)

// MaxHold is the longest time for which one answer of Finn's holds calls back.
const MaxHold = 60 * time.Second

// hold keeps calls back while Finn has asked to wait. Its rate limit is meant
// for all users together, so what one call is told holds for the others. It is
// safe for concurrent use.
type hold struct {
	mu    sync.Mutex
	until time.Time // GUARDED_BY(mu)
}

// heed takes note of the wait that a call's error asks for, if it does. Calls
// that were under way at the same time do not shorten it.
func (h *hold) heed(err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.asked == 0 {
		return
	}
	until := time.Now().Add(min(e.asked, MaxHold))
	h.mu.Lock()
	defer h.mu.Unlock()
	if until.After(h.until) {
		h.until = until
	}
}

// check refuses a call while the wait lasts.
func (h *hold) check() error {
	h.mu.Lock()
	left := time.Until(h.until)
	h.mu.Unlock()
	if left <= 0 {
		return nil
	}
	return &Error{Kind: ErrRateLimited, Code: CodeRateLimitHold, RetryAfter: clampRetry(left)}
}
