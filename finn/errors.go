package finn

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The kinds of failure. Every error of a call is an [*Error] that unwraps to
// one of them, except that a call which its caller cancelled, or whose event
// function failed, returns an error wrapping that cause.
var (
	// ErrCircuitOpen: the breaker refused the call. RetryAfter is set.
	ErrCircuitOpen = errors.New("circuit open")
	// ErrUnavailable: no answer, be it for a broken connection or a time limit.
	ErrUnavailable = errors.New("no answer")
	// ErrSessionNotFound: Finn does not know the session, or the id is not one.
	ErrSessionNotFound = errors.New("session not found")
	// ErrTurnFailed: Finn answered, but its model did not: an empty answer
	// without tool calls, or a turn that ended in an error.
	ErrTurnFailed = errors.New("turn failed")
	// ErrBudgetExceeded: the usage limit at Finn is spent.
	ErrBudgetExceeded = errors.New("budget exceeded")
	// ErrRateLimited: Finn's rate limit, or the wait that Finn asked for with
	// it ([CodeRateLimitHold]). RetryAfter is set.
	ErrRateLimited = errors.New("rate limited")
	// ErrModelUnavailable: Finn has no model to answer with.
	ErrModelUnavailable = errors.New("model unavailable")
	// ErrProvider: the provider behind Finn failed.
	ErrProvider = errors.New("model provider failed")
	// ErrCredential: Finn refused the client's token (401, 403, or a socket
	// closed for it). A mistake in this service's configuration, never of the
	// person served.
	ErrCredential = errors.New("credential refused")
	// ErrRefused: another 4xx, or a prompt or argument that the client refuses
	// to send.
	ErrRefused = errors.New("request refused")
	// ErrUpstream: another 5xx, a redirect, or an answer that makes no sense.
	ErrUpstream = errors.New("bad answer")
	// ErrNotAvailable: this Finn does not serve the look-up.
	ErrNotAvailable = errors.New("look-up not served")
)

// Codes that the client itself gives; the others are Finn's.
const (
	CodeCircuitOpen   = "CIRCUIT_OPEN"
	CodeUnreachable   = "UNREACHABLE"
	CodeTimeout       = "TIMEOUT"
	CodeIdle          = "IDLE_TIMEOUT"
	CodeClosed        = "CLIENT_CLOSED"
	CodeConnection    = "CONNECTION_LOST"
	CodeMalformed     = "MALFORMED_ANSWER"
	CodeTooLarge      = "ANSWER_TOO_LARGE"
	CodeEmptyAnswer   = "EMPTY_ANSWER"
	CodeTurnError     = "TURN_ERROR"
	CodeBillingBlock  = "BILLING_BLOCKED"
	CodeInvalidID     = "INVALID_SESSION_ID"
	CodeInvalidText   = "INVALID_TEXT"
	CodeInvalidWallet = "INVALID_WALLET"
	CodeRateLimitHold = "RATE_LIMIT_HOLD"
)

// Error is a failed call to Finn. Its text names kind, code and status and
// never repeats what Finn wrote.
type Error struct {
	// Kind is the sentinel of this package that the error unwraps to.
	Kind error
	// Code is Finn's error code or one of this package's. It may be empty when
	// Finn gave none.
	Code string
	// Status is the HTTP status of Finn's answer, 0 without one.
	Status int
	// RetryAfter is how long to wait before a new try, in whole seconds from
	// one second to [MaxRetryAfter]; 0 when nothing is known.
	RetryAfter time.Duration

	// asked is RetryAfter if it is Finn's own word with a 429, else 0.
	asked time.Duration
	cause error
}

// Error names the kind, the code and the status.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("finn: ")
	if e.Kind != nil {
		b.WriteString(e.Kind.Error())
	} else {
		b.WriteString("failed")
	}
	if e.Code != "" {
		b.WriteString(": ")
		b.WriteString(e.Code)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.Status)
	}
	return b.String()
}

// Unwrap returns the kind and, for a transport failure, its cause. The cause's
// own text may name hosts and is not for clients.
func (e *Error) Unwrap() []error {
	out := make([]error, 0, 2)
	if e.Kind != nil {
		out = append(out, e.Kind)
	}
	if e.cause != nil {
		out = append(out, e.cause)
	}
	return out
}

// MaxRetryAfter caps what Finn may ask to wait: a wrong header must not lock
// people out for a day.
const MaxRetryAfter = 10 * time.Minute

const defaultRetryAfter = 60 * time.Second

// errorBody is what Finn sends with a failure. The code sits in code or, from
// some of its layers, in error.
type errorBody struct {
	Code       json.RawMessage `json:"code"`
	Error      json.RawMessage `json:"error"`
	RetryAfter json.RawMessage `json:"retry_after_seconds"`
}

// statusError makes the error of an answer that is not 2xx. No text of the
// body survives but the code, and that only in the shape of one.
func statusError(status int, header http.Header, body []byte) *Error {
	var parsed errorBody
	_ = json.Unmarshal(body, &parsed) // A body without JSON has no code.
	e := &Error{Status: status, Code: codeOf(parsed.Code)}
	if e.Code == "" {
		e.Code = codeOf(parsed.Error)
	}
	e.Kind = kindOf(status, e.Code)
	e.RetryAfter = retryAfter(header.Get("Retry-After"), time.Now())
	if seconds, err := strconv.ParseInt(string(parsed.RetryAfter), 10, 32); err == nil && e.RetryAfter == 0 {
		e.RetryAfter = clampRetry(time.Duration(seconds) * time.Second)
	}
	if errors.Is(e.Kind, ErrRateLimited) {
		if status == http.StatusTooManyRequests {
			e.asked = e.RetryAfter
		}
		e.RetryAfter = cmp.Or(e.RetryAfter, defaultRetryAfter)
	}
	return e
}

func kindOf(status int, code string) error {
	switch {
	case code == "BUDGET_EXCEEDED":
		return ErrBudgetExceeded
	case code == "ORACLE_MODEL_UNAVAILABLE":
		return ErrModelUnavailable
	case code == "PROVIDER_UNAVAILABLE":
		return ErrProvider
	case code == "SESSION_NOT_FOUND":
		return ErrSessionNotFound
	case code == "PROMPT_FAILED":
		return ErrTurnFailed
	case code == "RATE_LIMITED", status == http.StatusTooManyRequests:
		return ErrRateLimited
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrCredential
	case status >= 400 && status < 500:
		return ErrRefused
	default:
		return ErrUpstream
	}
}

// codeOf returns the JSON string raw if it is a code in capitals.
func codeOf(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil || s == "" || len(s) > 64 || s[0] < 'A' || s[0] > 'Z' {
		return ""
	}
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return ""
		}
	}
	return s
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3); 0 when it
// says nothing.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return clampRetry(time.Duration(seconds) * time.Second)
	}
	if at, err := http.ParseTime(value); err == nil {
		return clampRetry(at.Sub(now))
	}
	return 0
}

func clampRetry(d time.Duration) time.Duration {
	whole := (d + time.Second - 1).Truncate(time.Second)
	return min(max(whole, time.Second), MaxRetryAfter)
}
