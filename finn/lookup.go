package finn

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// healthTTL is how long a probe's result is handed out.
const healthTTL = 10 * time.Second

// Health is the result of a probe.
type Health struct {
	Healthy bool
	// Latency is how long the probe took.
	Latency time.Duration
	// Err is the code of what was wrong: one of this package's, or HTTP_ and
	// the status. Empty when healthy.
	Err string
}

// healthCache shares one probe among all who ask within its time.
type healthCache struct {
	mu      sync.Mutex
	current *probe // GUARDED_BY(mu)
}

type probe struct {
	done   chan struct{}
	result Health    // Written before done is closed.
	until  time.Time // Written before done is closed.
}

func (p *probe) stale(now time.Time) bool {
	select {
	case <-p.done:
		return !now.Before(p.until)
	default:
		return false
	}
}

// Health asks Finn whether it is well: any 2xx of GET /health within the
// control time limit is. The result is kept for ten seconds, and those who ask
// at once share one probe, which outlives the caller that began it. Breaker
// and hold are neither asked nor told. When ctx ends first the answer is
// unhealthy with [CodeTimeout].
func (c *Client) Health(ctx context.Context) Health {
	p, ok := c.probe(ctx)
	if !ok {
		return Health{Err: CodeClosed}
	}
	select {
	case <-p.done:
		return p.result
	case <-ctx.Done():
		return Health{Err: CodeTimeout}
	}
}

func (c *Client) probe(ctx context.Context) (*probe, bool) {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	if p := c.health.current; p != nil && !p.stale(time.Now()) {
		return p, true
	}
	p := &probe{done: make(chan struct{})}
	detached := context.WithoutCancel(ctx)
	started := c.spawn(func() {
		defer close(p.done)
		p.result = c.runProbe(detached)
		p.until = time.Now().Add(healthTTL)
	})
	if !started {
		return nil, false
	}
	c.health.current = p
	return p, true
}

func (c *Client) runProbe(ctx context.Context) Health {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	start := time.Now()
	_, err := c.exchange(ctx, call{method: http.MethodGet, path: "/health", route: "/health", limit: c.control}, nil)
	h := Health{Healthy: err == nil, Latency: time.Since(start)}
	var e *Error
	switch {
	case err == nil:
	case errors.As(err, &e) && e.Status != 0:
		h.Err = "HTTP_" + strconv.Itoa(e.Status)
	case errors.As(err, &e):
		h.Err = e.Code
	default:
		h.Err = CodeClosed
	}
	return h
}

// Staked returns what wallet (0x and 40 hex digits) has staked, in BGT, as
// Finn's conviction look-up tells it, within the control time limit. A look-up
// is subject neither to the breaker nor to a hold. Errors: [ErrNotAvailable] when Finn does not
// serve the look-up (404; cache that, Finn is meant to bear few calls),
// [ErrRefused] for text that is no wallet, [ErrUpstream] when the amount is
// not a finite number of at least zero or is another wallet's, else as for
// every call.
func (c *Client) Staked(ctx context.Context, wallet string) (_ float64, err error) {
	if !isWallet(wallet) {
		return 0, &Error{Kind: ErrRefused, Code: CodeInvalidWallet}
	}
	if err := c.usable(ctx); err != nil {
		return 0, err
	}
	var answer struct {
		Wallet string      `json:"wallet"`
		Staked json.Number `json:"bgtStaked"`
	}
	ctx, inference := c.infer(ctx)
	defer inference.span.End()
	defer func() { inference.report(err) }()
	start := time.Now()
	o, err := c.exchange(ctx, call{
		method: http.MethodGet, path: "/api/conviction/" + wallet + "/staking",
		route: "/api/conviction/{wallet}/staking", limit: c.control,
	}, &answer)
	c.tellCall(OperationStaked, callOutcome(o), time.Since(start))
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		return 0, &Error{Kind: ErrNotAvailable, Code: e.Code, Status: e.Status}
	}
	if err != nil {
		return 0, err
	}
	amount, err := answer.Staked.Float64() // It fails for what is not finite.
	if err != nil || amount < 0 ||
		answer.Wallet != "" && !strings.EqualFold(answer.Wallet, wallet) {
		return 0, &Error{Kind: ErrUpstream, Code: CodeMalformed, Status: http.StatusOK}
	}
	return amount, nil
}

func isWallet(s string) bool {
	if len(s) != 42 || !strings.HasPrefix(s, "0x") {
		return false
	}
	for _, c := range []byte(s[2:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
