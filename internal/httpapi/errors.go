package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"dixie/finn"
	"dixie/internal/auth"
	"dixie/internal/chat"
)

// apiError is what a client is told: a code, a short text and nothing of the cause.
type apiError struct {
	Status     int
	Code       string
	Message    string
	RetryAfter time.Duration
	// Extra is a struct of further JSON fields, or nil.
	Extra any
	cause error
}

func (e *apiError) Error() string {
	if e.cause != nil {
		return e.Code + ": " + e.cause.Error()
	}
	return e.Code + ": " + e.Message
}

func (e *apiError) Unwrap() error { return e.cause }

// because keeps the cause for the log.
func (e *apiError) because(cause error) *apiError {
	c := *e
	c.cause = cause
	return &c
}

// invalid is a 400 whose text tells the caller what to mend.
func invalid(format string, args ...any) *apiError {
	return &apiError{Status: http.StatusBadRequest, Code: "invalid_request", Message: fmt.Sprintf(format, args...)}
}

var (
	errUnauthorized = &apiError{Status: http.StatusUnauthorized, Code: "unauthorized", Message: "Authentication required"}
	errSignIn       = &apiError{Status: http.StatusUnauthorized, Code: "invalid_signature", Message: "Sign-in failed"}
	errForbidden    = &apiError{Status: http.StatusForbidden, Code: "forbidden", Message: "Not authorized"}
	errNotFound     = &apiError{Status: http.StatusNotFound, Code: "not_found", Message: "Not found"}
	errTooLarge     = &apiError{
		Status: http.StatusRequestEntityTooLarge, Code: "payload_too_large",
		Message: "Body exceeds " + strconv.Itoa(maxBodyBytes) + " bytes",
	}
	errInternal = &apiError{Status: http.StatusInternalServerError, Code: "internal_error", Message: "Internal error"}
	errTimeout  = &apiError{
		Status: http.StatusServiceUnavailable, Code: "timeout",
		Message: "The request took too long", RetryAfter: retryTimeout,
	}
	errShuttingDown = &apiError{
		Status: http.StatusServiceUnavailable, Code: "shutting_down",
		Message: "Shutting down, try again", RetryAfter: time.Second,
	}
)

func unavailable(message string) *apiError {
	return &apiError{
		Status: http.StatusServiceUnavailable, Code: "service_unavailable",
		Message: message, RetryAfter: retryUnavailable,
	}
}

const (
	retryUnavailable = 5 * time.Second
	retryTimeout     = time.Second
)

// toAPIError maps an error of the domain to what the client is told. It never fails: what it does not
// know is an internal error, whose cause only the log sees.
func toAPIError(err error) *apiError {
	if known, ok := errors.AsType[*apiError](err); ok {
		if _, bare := err.(*apiError); !bare && known.cause == nil { //nolint:errorlint // Whether it is wrapped is the question.
			return known.because(err)
		}
		return known
	}
	for _, mapping := range []func(error) *apiError{fromAuth, fromFinn, fromChat, fromFleet, fromReputation, fromContext} {
		if e := mapping(err); e != nil {
			return e.because(err)
		}
	}
	return errInternal.because(err)
}

func fromContext(err error) *apiError {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errTooLarge
	case errors.Is(err, context.DeadlineExceeded):
		return errTimeout
	case errors.Is(err, context.Canceled):
		// Nobody reads the answer; the status is for the log.
		return &apiError{Status: statusClientClosed, Code: "client_closed", Message: "Client closed the request"}
	default:
		return nil
	}
}

// statusClientClosed is the de-facto status for a client that went away before the answer.
const statusClientClosed = 499

func fromAuth(err error) *apiError {
	switch {
	case errors.Is(err, auth.ErrSignIn):
		return errSignIn
	case errors.Is(err, auth.ErrNonceStore), errors.Is(err, auth.ErrTicketStore):
		return unavailable("Sign-in is temporarily unavailable")
	case errors.Is(err, auth.ErrNotListed):
		return errNotFound
	case errors.Is(err, auth.ErrInvalidEntry):
		return invalid("value must be a wallet address or an API key dxk_ with 8 to 124 characters")
	case errors.Is(err, auth.ErrAllowlistFull):
		return invalid("the allowlist has %d entries of this type, which is the most", auth.MaxAllowlistEntries)
	case errors.Is(err, auth.ErrAllowlistStore):
		return unavailable("The allowlist is temporarily unavailable")
	case errors.Is(err, auth.ErrTooManyTickets):
		return &apiError{
			Status: http.StatusTooManyRequests, Code: "rate_limited",
			Message: "Too many unused tickets", RetryAfter: auth.TicketTTL,
		}
	default:
		return nil
	}
}

func fromFinn(err error) *apiError {
	retry := func(fallback time.Duration) time.Duration {
		var e *finn.Error
		if errors.As(err, &e) && e.RetryAfter > 0 {
			return e.RetryAfter
		}
		return fallback
	}
	switch {
	case errors.Is(err, finn.ErrCircuitOpen):
		return &apiError{
			Status: http.StatusServiceUnavailable, Code: "circuit_open",
			Message: "Backend temporarily unavailable", RetryAfter: retry(time.Second),
		}
	case errors.Is(err, finn.ErrBudgetExceeded):
		return &apiError{Status: http.StatusPaymentRequired, Code: "usage_limit", Message: "Usage limit reached"}
	case errors.Is(err, finn.ErrRateLimited):
		return &apiError{
			Status: http.StatusTooManyRequests, Code: "rate_limited",
			Message: "Backend rate limit reached", RetryAfter: retry(time.Minute),
		}
	case errors.Is(err, finn.ErrModelUnavailable):
		return unavailable("Model temporarily unavailable")
	case errors.Is(err, finn.ErrProvider), errors.Is(err, finn.ErrTurnFailed):
		return &apiError{Status: http.StatusBadGateway, Code: "service_unavailable", Message: "Service temporarily unavailable"}
	case errors.Is(err, finn.ErrSessionNotFound):
		return errNotFound
	case errors.Is(err, finn.ErrUnavailable):
		return &apiError{
			Status: http.StatusServiceUnavailable, Code: "upstream_error",
			Message: "Backend did not answer", RetryAfter: retry(retryUnavailable),
		}
	case errors.Is(err, finn.ErrRefused):
		status := http.StatusBadRequest
		if e, ok := errors.AsType[*finn.Error](err); ok && e.Status >= http.StatusBadRequest && e.Status < http.StatusInternalServerError {
			status = e.Status
		}
		return &apiError{Status: status, Code: "upstream_error", Message: fmt.Sprintf("Backend refused the request with status %d", status)}
	case errors.Is(err, finn.ErrCredential), errors.Is(err, finn.ErrUpstream):
		return &apiError{Status: http.StatusBadGateway, Code: "upstream_error", Message: "Backend error"}
	default:
		return nil
	}
}

func fromChat(err error) *apiError {
	switch {
	case errors.Is(err, chat.ErrSessionNotFound):
		return errNotFound
	case errors.Is(err, chat.ErrBusy):
		return unavailable("The session is busy with another turn")
	case errors.Is(err, chat.ErrClosed):
		return errShuttingDown
	case errors.Is(err, chat.ErrStoreUnavailable):
		return unavailable("Sessions are temporarily unavailable")
	default:
		return nil
	}
}
