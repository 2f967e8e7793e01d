package finn

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"dixie/spansanitizer"
)

// Defaults of the time limits in [Config].
const (
	// DefaultControlTimeout bounds a call that does not wait for a model.
	DefaultControlTimeout = 5 * time.Second
	// DefaultTurnTimeout bounds one whole turn.
	DefaultTurnTimeout = 120 * time.Second
	// DefaultIdleTimeout bounds the silence within a streamed turn.
	DefaultIdleTimeout = 60 * time.Second
)

// ErrConfig is wrapped by every error of [New].
var ErrConfig = errors.New("finn: invalid configuration")

// Config says where Finn is and how to treat it. It is copied by [New].
type Config struct {
	// URL is the base URL of Finn, http or https, without credentials, query
	// or fragment; a path is kept as a prefix. Required.
	URL string
	// WebSocketURL is the base URL for sockets: ws, wss, http or https.
	// Empty: derived from URL.
	WebSocketURL string
	// Token is sent as bearer and, on sockets, as the query parameter "token".
	// Empty: no credential is sent.
	Token string
	// ControlTimeout bounds the creation and the state of a session, look-ups,
	// the health probe and the opening of a socket. 0: [DefaultControlTimeout].
	ControlTimeout time.Duration
	// TurnTimeout bounds one Send or Stream. 0: [DefaultTurnTimeout].
	TurnTimeout time.Duration
	// IdleTimeout bounds the time without an event within a Stream. It is also
	// how long Finn must have been silent in a turn before the breaker counts
	// that a deadline of the caller's context ran out. 0: [DefaultIdleTimeout].
	IdleTimeout time.Duration
	// HTTPClient replaces the client's own connection pool, for a proxy, a
	// private CA or instrumentation. It must speak HTTP/1.1 for WebSockets;
	// its redirect policy and Timeout are not used, and its connections stay
	// the caller's to close. Nil: a pool of the client's own, which reads no
	// proxy from the environment, since Finn is an internal service.
	HTTPClient *http.Client
	// Logger takes circuit transitions (as circuit_breaker_transition), why Finn
	// does not answer (as finn_unreachable), refused credentials and, at debug
	// level, the code of failed calls. Nil: nothing is logged.
	Logger *slog.Logger
	// OnCircuitChange is told each transition of the breaker, in order, one at
	// a time, outside every lock, on the goroutine of a call that noticed it.
	// It must return soon. It may call [Client.CircuitState]. Nil: nobody is
	// told.
	OnCircuitChange func(CircuitChange)
	// Tracer puts a span around each call but the health probe. With and
	// without it, the trace context of a call's ctx goes to Finn. Zero: no
	// spans.
	Tracer spansanitizer.Tracer
	// OnCall is told how each call ended that was made or held back, except
	// probes of Finn's health, on the goroutine of the call. It must return soon and be safe for concurrent
	// use. Nil: nobody is told.
	OnCall func(CallResult)
}

// resolved is a Config that has been checked and completed.
type resolved struct {
	base, socket        string
	control, turn, idle time.Duration
	logger              *slog.Logger
}

func (cfg *Config) resolve() (resolved, error) {
	var problems []error
	var out resolved
	base, err := baseURL(cfg.URL, "http", "https")
	if err != nil {
		problems = append(problems, fmt.Errorf("URL: %w", err))
	}
	out.base = base
	out.socket = base
	if cfg.WebSocketURL != "" {
		out.socket, err = baseURL(cfg.WebSocketURL, "ws", "wss", "http", "https")
		if err != nil {
			problems = append(problems, fmt.Errorf("WebSocketURL: %w", err))
		}
	}
	if !headerSafe(cfg.Token, maxToken) && cfg.Token != "" {
		problems = append(problems, errors.New("the Token is not printable ASCII, or too long"))
	}
	limit := func(name string, d, fallback time.Duration) time.Duration {
		if d < 0 {
			problems = append(problems, fmt.Errorf("%s: %v is negative", name, d))
		}
		if d == 0 {
			return fallback
		}
		return d
	}
	out.control = limit("ControlTimeout", cfg.ControlTimeout, DefaultControlTimeout)
	out.turn = limit("TurnTimeout", cfg.TurnTimeout, DefaultTurnTimeout)
	out.idle = limit("IdleTimeout", cfg.IdleTimeout, DefaultIdleTimeout)
	out.logger = cfg.Logger
	if out.logger == nil {
		out.logger = slog.New(slog.DiscardHandler)
	}
	if len(problems) > 0 {
		return resolved{}, fmt.Errorf("%w: %w", ErrConfig, errors.Join(problems...))
	}
	return out, nil
}

// baseURL checks a base URL and returns it without a trailing slash. Its
// errors do not repeat the text, which may hold a credential.
func baseURL(text string, schemes ...string) (string, error) {
	if text == "" {
		return "", errors.New("is required")
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("is not a URL")
	}
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return "", fmt.Errorf("scheme must be one of %s", strings.Join(schemes, ", "))
	case u.Host == "":
		return "", errors.New("has no host")
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return "", errors.New("must not carry credentials, a query or a fragment")
	}
	return strings.TrimRight(u.String(), "/"), nil
}
