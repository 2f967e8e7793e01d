package httpapi

import (
	"context"
	"net/http"
	"strings"
	"sync"
)

// gate counts who is inside and can be closed to newcomers. The zero gate is open.
type gate struct {
	mu     sync.Mutex
	inside int           // GUARDED_BY(mu)
	empty  chan struct{} // GUARDED_BY(mu); not nil once closed
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.empty != nil {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.empty != nil && g.inside == 0 {
		close(g.empty)
	}
}

// shut closes the gate and returns a channel that is closed when nobody is inside any more.
func (g *gate) shut() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.empty == nil {
		g.empty = make(chan struct{})
		if g.inside == 0 {
			close(g.empty)
		}
	}
	return g.empty
}

// Drain answers new requests with 503, waits for the running ones, then closes the WebSockets with
// 1001 and waits for them too. When ctx ends first, streams are cut and ctx's error is returned.
// It may be called more than once and from several goroutines.
func (a *API) Drain(ctx context.Context) error {
	requestsDone, socketsDone := a.requests.shut(), a.sockets.shut()
	defer a.endStreams()
	if err := await(ctx, requestsDone); err != nil {
		return err
	}
	// A socket only relays turns, and no turn is left.
	a.endStreams()
	return await(ctx, socketsDone)
}

// await returns nil when done is closed, also when ctx has ended as well.
func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// streamContext ends with the request or when draining has run out of patience.
func (a *API) streamContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(a.streams, func() { cancel(errShuttingDown) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

func refuseDraining(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Connection", "close")
	return errShuttingDown
}

func isSocketPath(path string) bool { return strings.HasPrefix(path, "/ws/") }
