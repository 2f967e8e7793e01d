package finn

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// The breaker's numbers.
const (
	// FailureThreshold is how many failures in a row open the circuit.
	FailureThreshold = 5
	// FailureGap is the longest pause between two failures of one row.
	FailureGap = 30 * time.Second
	// OpenPeriod is how long an open circuit refuses every call.
	OpenPeriod = 10 * time.Second
)

// CircuitState is the state of a client's circuit breaker.
type CircuitState int

// The states.
const (
	// Closed lets every call through.
	Closed CircuitState = iota
	// Open refuses every call.
	Open
	// HalfOpen lets one call through at a time, as a probe.
	HalfOpen
)

// String returns closed, open or half-open.
func (s CircuitState) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half-open"
	default:
		return fmt.Sprintf("CircuitState(%d)", int(s))
	}
}

// CircuitChange is one transition of the breaker.
type CircuitChange struct {
	From, To CircuitState
	// ConsecutiveFailures is the length of the row of failures at that moment;
	// 0 when the circuit closes.
	ConsecutiveFailures int
	At                  time.Time
}

func stateOf(s gobreaker.State) CircuitState {
	switch s {
	case gobreaker.StateOpen:
		return Open
	case gobreaker.StateHalfOpen:
		return HalfOpen
	default:
		return Closed
	}
}

// outcome is what one call says about Finn.
type outcome int

const (
	excluded outcome = iota
	succeeded
	failed
)

// verdict carries an outcome, and the start of the call it is about, through
// gobreaker's callbacks. It is an error only because they take one.
type verdict struct {
	outcome outcome
	start   time.Time
}

func (verdict) Error() string { return "verdict" }

// breaker adds to gobreaker a count that forgets after a pause but not while
// calls hang (its own interval would), and tells transitions outside its lock.
type breaker struct {
	two *gobreaker.TwoStepCircuitBreaker[struct{}]

	// Touched only in gobreaker's callbacks, all of which run under its mutex.
	judged   time.Time
	failures int
	lastEnd  time.Time

	notify func(CircuitChange)

	mu         sync.Mutex
	pending    []CircuitChange // GUARDED_BY(mu)
	delivering bool            // GUARDED_BY(mu)
	halfOpenAt time.Time       // GUARDED_BY(mu)
}

func newBreaker(notify func(CircuitChange)) *breaker {
	b := &breaker{notify: notify}
	b.two = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        "loa-finn",
		MaxRequests: 1,
		Interval:    0,
		Timeout:     OpenPeriod,
		IsExcluded: func(err error) bool {
			v, ok := err.(verdict) //nolint:errorlint // The value is handed through unwrapped.
			return ok && v.outcome == excluded
		},
		IsSuccessful: func(err error) bool {
			v, ok := err.(verdict) //nolint:errorlint // The value is handed through unwrapped.
			b.judged = v.start
			return ok && v.outcome == succeeded
		},
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			now := time.Now()
			if counts.ConsecutiveFailures == 1 || b.judged.Sub(b.lastEnd) > FailureGap {
				b.failures = 0
			}
			b.failures++
			b.lastEnd = now
			return b.failures >= FailureThreshold
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case to == gobreaker.StateClosed:
				b.failures = 0
			case from == gobreaker.StateHalfOpen:
				b.failures++
			}
			b.note(CircuitChange{From: stateOf(from), To: stateOf(to), ConsecutiveFailures: b.failures, At: time.Now()})
		},
	})
	return b
}

func (b *breaker) state() CircuitState {
	s := stateOf(b.two.State())
	b.deliver()
	return s
}

// acquire asks for a permit, which must be settled.
func (b *breaker) acquire() (*permit, error) {
	start := time.Now()
	done, err := b.two.Allow()
	b.deliver()
	if err != nil {
		return nil, &Error{Kind: ErrCircuitOpen, Code: CodeCircuitOpen, RetryAfter: b.retryAfter(start)}
	}
	return &permit{breaker: b, done: done, start: start}, nil
}

func (b *breaker) retryAfter(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return clampRetry(b.halfOpenAt.Sub(now))
}

func (b *breaker) note(change CircuitChange) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if change.To == Open {
		b.halfOpenAt = change.At.Add(OpenPeriod)
	}
	b.pending = append(b.pending, change)
}

// deliver tells the noted transitions, oldest first. Only one goroutine
// delivers at a time; another, or a callback that comes back here, leaves its
// notes to it.
func (b *breaker) deliver() {
	for {
		change, ok := b.takePending()
		if !ok {
			return
		}
		func() {
			defer b.delivered()
			b.notify(change)
		}()
	}
}

func (b *breaker) takePending() (CircuitChange, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.delivering || len(b.pending) == 0 {
		return CircuitChange{}, false
	}
	change := b.pending[0]
	b.pending = b.pending[1:]
	b.delivering = true
	return change, true
}

func (b *breaker) delivered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delivering = false
}

// permit is the leave to make one call.
type permit struct {
	breaker *breaker
	done    func(error)
	start   time.Time
	settled atomic.Bool
	// client is told of the operation's end; nil where nobody is.
	client    *Client
	operation string
}

// settle reports the outcome. Only the first report counts.
func (p *permit) settle(o outcome) {
	if p.settled.Swap(true) {
		return
	}
	p.done(verdict{outcome: o, start: p.start})
	p.breaker.deliver()
	if p.client != nil {
		p.client.tellCall(p.operation, callOutcome(o), time.Since(p.start))
	}
}

// proved reports that Finn works, if this may be the probe that a half-open
// circuit waits for. (A permit from before the circuit opened may get here as
// well; gobreaker disregards it now as it would later.)
func (p *permit) proved() {
	if p.breaker.state() == HalfOpen {
		p.settle(succeeded)
	}
}

// logTransition writes the line that alarms are keyed on.
func logTransition(logger *slog.Logger, change CircuitChange) {
	level := slog.LevelInfo
	switch change.To {
	case Open:
		level = slog.LevelError
	case HalfOpen:
		level = slog.LevelWarn
	case Closed:
	}
	// Transitions belong to the client, not to the request that met them.
	logger.LogAttrs(context.Background(), level, "circuit_breaker_transition",
		slog.String("from", change.From.String()),
		slog.String("to", change.To.String()),
		slog.String("circuit_state", change.To.String()),
		slog.Int("consecutive_failures", change.ConsecutiveFailures),
		slog.String("service", "loa-finn"),
	)
}
