package finn

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// maxAnswer bounds the body of an answer, and the text, tool names and tool
// data of a streamed turn, in bytes.
const maxAnswer = 8 << 20

// errTimeLimit is the cause of a context that a time limit of the client ended.
var errTimeLimit = errors.New("finn: time limit")

// call is one HTTP exchange.
type call struct {
	method string
	path   string
	route  string // The path's pattern, for logs.
	body   []byte
	limit  time.Duration
	// patience is the silence after which a deadline of the caller's is held
	// against Finn. 0: limit.
	patience time.Duration
}

// patient returns what a deadline of the caller's says after that silence.
func (call *call) patient(silent time.Duration) outcome {
	return silentFor(silent, cmp.Or(call.patience, call.limit))
}

// counted makes the call under a permit of the breaker and decodes the answer
// into out.
func (c *Client) counted(ctx context.Context, call call, out any) error {
	permit, err := c.admit(ctx)
	if err != nil {
		return err
	}
	defer permit.settle(excluded) // Only a panic gets here unsettled.
	o, err := c.exchange(ctx, call, out)
	permit.settle(o)
	c.hold.heed(err)
	return err
}

// admit asks for leave to make a counted call. A call that is held back never
// gets to the breaker.
func (c *Client) admit(ctx context.Context) (*permit, error) {
	if err := c.usable(ctx); err != nil {
		return nil, err
	}
	if err := c.hold.check(); err != nil {
		return nil, err
	}
	return c.breaker.acquire()
}

// usable refuses work for a closed client or a context that is over: neither
// says anything about Finn.
func (c *Client) usable(ctx context.Context) error {
	if c.isClosed() {
		return errClosed()
	}
	if ctx.Err() != nil {
		return abandoned(ctx)
	}
	return nil
}

func (c *Client) exchange(ctx context.Context, call call, out any) (outcome, error) {
	start := time.Now()
	limited, cancel := context.WithTimeoutCause(ctx, call.limit, errTimeLimit)
	defer cancel()
	req, err := c.request(limited, call)
	if err != nil {
		return excluded, &Error{Kind: ErrRefused, cause: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.broken(ctx, limited, failed, call.patient(time.Since(start)), err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.broken(ctx, limited, failed, call.patient(time.Since(start)), err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refused(ctx, call.route, resp.StatusCode, resp.Header, body)
	}
	if len(body) > maxAnswer {
		return succeeded, &Error{Kind: ErrUpstream, Code: CodeTooLarge, Status: resp.StatusCode}
	}
	if out == nil {
		return succeeded, nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return succeeded, &Error{Kind: ErrUpstream, Code: CodeMalformed, Status: resp.StatusCode}
	}
	return succeeded, nil
}

func (c *Client) request(ctx context.Context, call call) (*http.Request, error) {
	var body io.Reader
	if call.body != nil {
		body = bytes.NewReader(call.body)
	}
	req, err := http.NewRequestWithContext(ctx, call.method, c.base+call.path, body)
	if err != nil {
		return nil, fmt.Errorf("finn: make request: %w", err)
	}
	caller := wireCaller(ctx)
	c.setHeaders(req.Header, caller)
	req.Header.Set("Accept", "application/json")
	if call.body != nil {
		hash := sha256.Sum256(call.body)
		text := "sha256:" + hex.EncodeToString(hash[:])
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Req-Hash", text)
		req.Header.Set("X-Idempotency-Key", idempotencyKey(caller, text, call.path))
		// net/http takes a request with an idempotency key for one that may be
		// sent again when a connection breaks. Finn does not read the key: it
		// would run the prompt twice. Without GetBody nothing is sent again.
		req.GetBody = nil
	}
	return req, nil
}

func (c *Client) setHeaders(h http.Header, caller Caller) {
	h.Set("User-Agent", "dixie")
	h.Set("X-Request-ID", caller.RequestID)
	if caller.Wallet != "" {
		h.Set("X-Wallet-Address", caller.Wallet)
	}
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
}

// idempotencyKey is the SHA-256 of the JSON array [tenant, body hash, service,
// path, request id]. The request id keeps two equal prompts of one session
// apart.
func idempotencyKey(caller Caller, hash, path string) string {
	tenant := caller.Wallet
	if tenant == "" {
		tenant = "anonymous"
	}
	text, err := json.Marshal([]string{tenant, hash, "loa-finn", path, caller.RequestID})
	if err != nil { // Strings always marshal.
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// silentFor is the outcome of a call that was cut when Finn had said nothing
// for that long.
func silentFor(silent, patience time.Duration) outcome {
	if silent >= patience {
		return failed
	}
	return excluded
}

// broken judges a call that ended without an answer: atLimit is the outcome
// when a time limit of the client ended it, atDeadline when a deadline of the
// caller did.
func (c *Client) broken(ctx, limited context.Context, atLimit, atDeadline outcome, err error) (outcome, error) {
	switch cause := context.Cause(limited); {
	case errors.Is(cause, errTimeLimit):
		return atLimit, &Error{Kind: ErrUnavailable, Code: CodeTimeout, cause: context.DeadlineExceeded}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return atDeadline, abandoned(ctx)
	case ctx.Err() != nil:
		return excluded, abandoned(ctx)
	}
	return failed, &Error{Kind: ErrUnavailable, Code: CodeUnreachable, cause: withoutURL(err)}
}

// abandoned is the error of a call whose own context ended.
func abandoned(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{Kind: ErrUnavailable, Code: CodeTimeout, cause: ctx.Err()}
	}
	return fmt.Errorf("finn: call abandoned: %w", ctx.Err())
}

// withoutURL drops the URL that net/http puts into its errors: a socket's
// carries the token.
func withoutURL(err error) error {
	if withURL, ok := errors.AsType[*url.Error](err); ok {
		return withURL.Err
	}
	return err
}

// refused judges an answer that is not 2xx.
func (c *Client) refused(
	ctx context.Context, route string, status int, header http.Header, body []byte,
) (outcome, error) {
	e := statusError(status, header, body)
	attrs := []slog.Attr{slog.String("route", route), slog.Int("status", status), slog.String("code", e.Code)}
	if errors.Is(e, ErrCredential) {
		c.logger.LogAttrs(ctx, slog.LevelError, "finn_credential_refused", attrs...)
	} else {
		c.logger.LogAttrs(ctx, slog.LevelDebug, "finn_call_failed", attrs...)
	}
	if status >= 500 && e.Code != "SESSION_CREATE_FAILED" {
		return failed, e
	}
	return succeeded, e
}
