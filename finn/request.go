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

	"dixie/internal/tracecontext"
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
	// operation is the call's name in a CallResult.
	operation string
	body      []byte
	limit     time.Duration
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
	permit, err := c.admit(ctx, call.operation)
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
func (c *Client) admit(ctx context.Context, operation string) (*permit, error) {
	if err := c.usable(ctx); err != nil {
		return nil, err
	}
	if err := c.hold.check(); err != nil {
		c.tellCall(operation, CallHeld, 0)
		return nil, err
	}
	permit, err := c.breaker.acquire()
	if err != nil {
		c.tellCall(operation, CallCircuitOpen, 0)
		return nil, err
	}
	permit.client, permit.operation = c, operation
	return permit, nil
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
	limited, cancel := withLimit(ctx, call.limit)
	defer cancel()
	req, err := c.request(limited, call)
	if err != nil {
		return excluded, &Error{Kind: ErrRefused, cause: err}
	}
	resp, err := c.do(req)
	if err != nil {
		return c.broken(ctx, limited, call.route, failed, call.patient(time.Since(start)), err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := readAnswer(resp)
	if err != nil {
		return c.broken(ctx, limited, call.route, failed, call.patient(time.Since(start)), err)
	}
	c.noteAnswer(ctx, call.route)
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

// withLimit bounds a call. A deadline of the caller's that comes sooner is bound
// enough, and ends the call in the caller's name, as [Client.broken] wants it.
func withLimit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(time.Now().Add(limit)) {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, limit, errTimeLimit)
}

// readAnswer reads a body until it has ended or is too large. It is
// [io.ReadAll], but begins with room for the length that was announced and for
// the end behind it. A length that is wrong costs that room and changes nothing.
func readAnswer(resp *http.Response) ([]byte, error) {
	const unannounced = 512
	size := int64(unannounced)
	if resp.ContentLength >= 0 {
		size = min(resp.ContentLength, maxAnswer) + 1
	}
	body := make([]byte, 0, size)
	for len(body) <= maxAnswer {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		n, err := resp.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return body, err
		}
	}
	return body, nil
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
	req.Header = make(http.Header, mostHeaders)
	c.setHeaders(ctx, req.Header, caller)
	req.Header["Accept"] = []string{"application/json"}
	if call.body != nil {
		text := hexHash("sha256:", call.body)
		req.Header["Content-Type"] = []string{"application/json"}
		req.Header["X-Req-Hash"] = []string{text}
		req.Header["X-Idempotency-Key"] = []string{idempotencyKey(caller, text, call.path)}
		// net/http takes a request with an idempotency key for one that may be
		// sent again when a connection breaks. Finn does not read the key: it
		// would run the prompt twice. Without GetBody nothing is sent again.
		req.GetBody = nil
	}
	return req, nil
}

// mostHeaders is how many headers a call outside of a trace has at most: their
// map need not grow.
const mostHeaders = 8

// setHeaders sets what every call carries, the trace context of ctx included,
// if there is one. Here as in request the keys are
// written in canonical form, which saves making it of them each time.
func (c *Client) setHeaders(ctx context.Context, h http.Header, caller Caller) {
	tracecontext.Inject(ctx, h)
	h["User-Agent"] = []string{"dixie"}
	h["X-Request-Id"] = []string{caller.RequestID}
	if caller.Wallet != "" {
		h["X-Wallet-Address"] = []string{caller.Wallet}
	}
	if c.token != "" {
		h["Authorization"] = []string{"Bearer " + c.token}
	}
}

// idempotencyKey is the SHA-256 of the JSON array [tenant, body hash, service,
// path, request id]. The request id keeps two equal prompts of one session
// apart.
func idempotencyKey(caller Caller, hash, path string) string {
	const usual = 512 // An array of this size stays on the stack.
	text := append(make([]byte, 0, usual), '[')
	text = appendJSON(text, cmp.Or(caller.Wallet, "anonymous"))
	for _, part := range [...]string{hash, "loa-finn", path, caller.RequestID} {
		text = append(text, ',')
		text = appendJSON(text, part)
	}
	text = append(text, ']')
	return hexHash("", text)
}

// hexHash is the SHA-256 of data in hex, behind a prefix.
func hexHash(prefix string, data []byte) string {
	sum := sha256.Sum256(data)
	text := make([]byte, 0, len("sha256:")+2*len(sum)) // It stays on the stack.
	return string(hex.AppendEncode(append(text, prefix...), sum[:]))
}

// appendJSON appends s as [json.Marshal] writes it. What an id or a path is
// made of needs no escapes, and so no encoder; every other text gets one.
func appendJSON(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			escaped, err := json.Marshal(s)
			if err != nil { // Strings always marshal.
				return to
			}
			return append(to, escaped...)
		}
	}
	to = append(to, '"')
	to = append(to, s...)
	return append(to, '"')
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
func (c *Client) broken(ctx, limited context.Context, route string, atLimit, atDeadline outcome, err error) (outcome, error) {
	switch cause := context.Cause(limited); {
	case errors.Is(cause, errTimeLimit):
		if atLimit == failed {
			c.noteSilence(ctx, route, errNoAnswerInTime)
		}
		return atLimit, &Error{Kind: ErrUnavailable, Code: CodeTimeout, cause: context.DeadlineExceeded}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return atDeadline, abandoned(ctx)
	case ctx.Err() != nil:
		return excluded, abandoned(ctx)
	}
	c.noteSilence(ctx, route, err)
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
