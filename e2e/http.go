package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// longestAnswer is how much of an answer is read.
	longestAnswer = 8 << 20
	// shownBody and shownLines bound what a failure shows of a body and of the log.
	shownBody  = 16 << 10
	shownLines = 40
	// longestWait bounds the waiting for a rate limit, for one request.
	longestWait = 5 * time.Minute
)

// Request is what to ask. The answer is read whole, a stream too.
type Request struct {
	Method, Path string
	// Token is the bearer credential; empty is none. No report shows it.
	Token string
	// Header goes on top of Authorization and Content-Type.
	Header map[string]string
	// Body is sent as JSON; nil is none.
	Body any
}

// Answer is what came back, with what had been asked.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte

	service  *Service
	request  Request
	sent     []byte
	duration time.Duration
}

// Send asks, and asks again when the rate limit says when. It fails when there is no answer, and when the run ends.
func (s *Service) Send(ctx context.Context, r Request) (Answer, error) {
	ctx, stop := s.untilEnded(ctx)
	defer stop()
	return s.ask(ctx, ctx, r)
}

// ask asks, and waits for the rate limit as long as both contexts last.
func (s *Service) ask(ctx, waiting context.Context, r Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, longestWait)
	defer cancel()
	for {
		a, err := s.exchange(ctx, r)
		if err != nil || a.Status != http.StatusTooManyRequests {
			return a, err
		}
		pause := a.retryAfter()
		if pause == 0 {
			return a, nil // A limit that does not say when is the caller's to complain about.
		}
		select {
		case <-time.After(pause):
		case <-waiting.Done():
			return a, nil
		case <-ctx.Done():
			return a, nil
		}
	}
}

// retryAfter is how long the answer asks to wait; 0 when it does not.
func (a Answer) retryAfter() time.Duration {
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func (s *Service) exchange(ctx context.Context, r Request) (Answer, error) {
	a := Answer{service: s, request: r}
	if r.Body != nil {
		var err error
		if a.sent, err = json.Marshal(r.Body); err != nil {
			return a, fmt.Errorf("%s %s: encode: %w", r.Method, r.Path, err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, s.config.URL+r.Path, bytes.NewReader(a.sent))
	if err != nil {
		return a, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	if r.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.Token != "" {
		request.Header.Set("Authorization", "Bearer "+r.Token)
	}
	for name, value := range r.Header {
		request.Header.Set(name, value)
	}
	started := time.Now()
	response, err := s.client.Do(request)
	if err != nil {
		return a, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	defer func() { _ = response.Body.Close() }()
	a.Status, a.Header = response.StatusCode, response.Header
	a.Body, err = io.ReadAll(io.LimitReader(response.Body, longestAnswer))
	a.duration = time.Since(started)
	if err != nil {
		return a, fmt.Errorf("%s %s: read the answer after %d bytes: %w", r.Method, r.Path, len(a.Body), err)
	}
	return a, nil
}

// Want asks and ends the test with the whole exchange unless the answer has the status.
func (s *Service) Want(t testing.TB, status int, r Request) Answer {
	t.Helper()
	// Cleaning up asks, too, when the test's context has ended; Send has a limit.
	a, err := s.Send(context.WithoutCancel(t.Context()), r)
	return a.want(t, status, err)
}

func (a Answer) want(t testing.TB, status int, err error) Answer {
	t.Helper()
	if err != nil {
		a.Fatalf(t, "no whole answer: %v", err)
	}
	if a.Status != status {
		a.Fatalf(t, "the status is %d, want %d", a.Status, status)
	}
	return a
}

// Read asks as [Service.Want] and decodes the JSON object that came back.
func Read[T any](t testing.TB, s *Service, status int, r Request) (T, Answer) {
	t.Helper()
	a := s.Want(t, status, r)
	return Decode[T](t, a), a
}

// Decode decodes the JSON object that an answer is.
func Decode[T any](t testing.TB, a Answer) T {
	t.Helper()
	var decoded T
	if media := a.Header.Get("Content-Type"); !strings.HasPrefix(media, "application/json") {
		a.Fatalf(t, "the content type is %q, want JSON", media)
	}
	if err := json.Unmarshal(a.Body, &decoded); err != nil {
		a.Fatalf(t, "the answer is not what was expected: %v", err)
	}
	return decoded
}

// Fatalf ends the test with a text, the whole exchange and the end of dixie's log. Credentials are masked.
func (a Answer) Fatalf(t testing.TB, format string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), longestLogs)
	defer cancel()
	t.Fatal(a.service.mask(fmt.Sprintf(format, args...)+"\n\n"+a.String()+a.service.lastLines(ctx), a.request.Token))
}

// String is the exchange as text, with credentials masked.
func (a Answer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "> %s %s%s\n", a.request.Method, a.service.config.URL, a.request.Path)
	if a.request.Token != "" {
		b.WriteString("> Authorization: Bearer ***\n")
	}
	for _, name := range slices.Sorted(maps.Keys(a.request.Header)) {
		fmt.Fprintf(&b, "> %s: %s\n", name, a.request.Header[name])
	}
	if len(a.sent) > 0 {
		fmt.Fprintf(&b, ">\n%s\n", shorten(a.sent))
	}
	if a.Status == 0 {
		b.WriteString("< no answer\n")
		return a.service.mask(b.String(), a.request.Token)
	}
	fmt.Fprintf(&b, "< %d %s, after %s\n", a.Status, http.StatusText(a.Status), a.duration.Round(time.Millisecond))
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		fmt.Fprintf(&b, "< %s: %s\n", name, strings.Join(a.Header[name], ", "))
	}
	fmt.Fprintf(&b, "<\n%s\n", shorten(a.Body))
	return a.service.mask(b.String(), a.request.Token)
}

func shorten(body []byte) string {
	if len(body) > shownBody {
		return fmt.Sprintf("%s\n… and %d bytes more", body[:shownBody], len(body)-shownBody)
	}
	return string(body)
}

func (s *Service) lastLines(ctx context.Context) string {
	if s.config.Logs == nil {
		return "\nNo log: set DIXIE_E2E_LOGS to a command that prints it.\n"
	}
	lines := strings.Split(strings.TrimSpace(s.config.Logs(ctx)), "\n")
	lines = lines[max(0, len(lines)-shownLines):]
	return "\nThe end of dixie's log:\n" + strings.Join(lines, "\n") + "\n"
}

// masked is what credentials look like whose value is not known here: tokens, API keys, tickets and signatures.
const masked = `eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*|dxk_[A-Za-z0-9_-]+|wst_[A-Za-z0-9]+|0x[0-9a-fA-F]{130}`

func (s *Service) mask(text, token string) string {
	for _, known := range []string{s.config.AdminKey, token} {
		if known != "" {
			text = strings.ReplaceAll(text, known, "***")
		}
	}
	return regexp.MustCompile(masked).ReplaceAllString(text, "***")
}

// Event is a server-sent event.
type Event struct {
	ID, Kind string
	Data     json.RawMessage
}

// Events reads a body of server-sent events; comments are left out.
func (a Answer) Events() []Event {
	var events []Event
	for block := range strings.SplitSeq(string(a.Body), "\n\n") {
		var e Event
		for line := range strings.SplitSeq(block, "\n") {
			field, value, _ := strings.Cut(line, ": ")
			switch field {
			case "id":
				e.ID = value
			case "event":
				e.Kind = value
			case "data":
				e.Data = json.RawMessage(value)
			}
		}
		if e.Kind != "" {
			events = append(events, e)
		}
	}
	return events
}
