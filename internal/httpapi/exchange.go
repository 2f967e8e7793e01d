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
	// clientText is client as [exchange.address] has written it; empty before.
	clientText string
	identity   auth.Identity
	// owner is what identity says as an owner, made once for all who ask.
	owner string
	// tokenExpires is when the token ends with which a wallet came.
	tokenExpires time.Time
	// unknownKey says that an API key was presented that is not on the allowlist: 403, not 401.
	unknownKey bool
	tier       governance.Resolution
	// tierKnown says that tier was found during authentication already.
	tierKnown    bool
	route        string
	start        time.Time
	handlerStart time.Time
	// cause is why the request failed, for the log only.
	cause error
}

// address is the client's address as text. Not every request needs it, and some need it more than once.
func (x *exchange) address() string {
	if x.clientText == "" {
		x.clientText = x.client.String()
	}
	return x.clientText
}

type exchangeKey struct{}

// IdentityFrom returns the verified caller of the request that ctx belongs to; of kind [auth.None] for
// requests without a credential that holds.
func IdentityFrom(ctx context.Context) auth.Identity { return exchangeFrom(ctx).identity }

// RequestIDFrom returns the id of the request that ctx belongs to, or the empty text. It allocates nothing.
func RequestIDFrom(ctx context.Context) string {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x.requestID
	}
	return ""
}

// exchangeFrom returns the exchange that the chain has put into ctx.
func exchangeFrom(ctx context.Context) *exchange {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return &exchange{}
	}
	return x
}

// writeTimeout is how long a client may take to make room for what is written to it. It bounds a single
// write, so that a stream may be as long as it likes while somebody reads it.
const writeTimeout = 30 * time.Second

// response sets the time headers at the moment the header goes out, remembers the status, and does not
// wait for ever for a client that has stopped reading. It implements Unwrap, so that
// http.ResponseController and WebSocket upgrades reach the connection.
type response struct {
	http.ResponseWriter

	control http.ResponseController
	x       *exchange
	status  int
	bytes   int64
}

func newResponse(w http.ResponseWriter, x *exchange) *response {
	return &response{ResponseWriter: w, control: *http.NewResponseController(w), x: x}
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
	w.bound()
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.bound()
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// bound sets the deadline of the next write, and of the flush at the end of the request. net/http takes
// it away after the request. A writer without deadlines, as in tests, cannot hang either.
func (w *response) bound() { _ = w.control.SetWriteDeadline(time.Now().Add(writeTimeout)) }

// wroteHeader says that the status can no longer be changed.
func (w *response) wroteHeader() bool { return w.status != 0 }
