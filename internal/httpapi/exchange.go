package httpapi

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"dixie/governance"
	"dixie/internal/auth"
)

// exchange is what the chain learns about one request. It belongs to the request's goroutine.
type exchange struct {
	requestID string
	client    netip.Addr
	identity  auth.Identity
	// unknownKey says that an API key was presented that is not on the allowlist: 403, not 401.
	unknownKey   bool
	tier         governance.Resolution
	route        string
	start        time.Time
	handlerStart time.Time
	// cause is why the request failed, for the log only.
	cause error
}

type exchangeKey struct{}

// exchangeFrom returns the exchange that the chain has put into ctx.
func exchangeFrom(ctx context.Context) *exchange {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return &exchange{}
	}
	return x
}

// response sets the time headers at the moment the header goes out and remembers the status.
// It implements Unwrap, so that http.ResponseController and WebSocket upgrades reach the connection.
type response struct {
	http.ResponseWriter

	x      *exchange
	status int
	bytes  int64
}

func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.status = status
		h := w.Header()
		now := time.Now()
		h["X-Response-Time"] = []string{milliseconds(now.Sub(w.x.start)) + "ms"}
		if !w.x.handlerStart.IsZero() {
			h["X-Duration-Ms"] = []string{milliseconds(now.Sub(w.x.handlerStart))}
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// wroteHeader says that the status can no longer be changed.
func (w *response) wroteHeader() bool { return w.status != 0 }
