package signals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stream is the name of the stream that takes the signals.
const Stream = "DIXIE_SIGNALS"

const (
	signalSubjects = "dixie.signal.>"
	fleetSubjects  = fleetPrefix + ">"
	maxMessages    = 100_000
	maxAge         = 7 * 24 * time.Hour
	// duplicates is how long JetStream knows an id: long enough for a signal that was stored and whose
	// acknowledgement was lost, which comes again within two minutes of NATS being there.
	duplicates = 10 * time.Minute

	infoSubject   = "$JS.API.STREAM.INFO." + Stream
	createSubject = "$JS.API.STREAM.CREATE." + Stream
)

func streamConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: Stream, Subjects: []string{signalSubjects, fleetSubjects},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: 1,
		MaxMsgs: maxMessages, MaxAge: maxAge, Duplicates: duplicates,
	}
}

// streamReport is what was said of the stream, so that it is said once.
type streamReport struct {
	mu       sync.Mutex
	warned   string   // GUARDED_BY(mu); the subjects that were found wanting
	subjects []string // GUARDED_BY(mu); as they were seen last
}

// takes says whether the stream had a subject when it was seen last.
func (r *streamReport) takes(subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return anyCovers(r.subjects, subject)
}

// note keeps the stream's subjects and says whether to warn of them.
func (r *streamReport) note(subjects []string) (warn bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subjects = subjects
	if anyCovers(subjects, signalSubjects) && anyCovers(subjects, fleetSubjects) {
		r.warned = ""
		return false
	}
	seen := strings.Join(subjects, " ")
	warn, r.warned = seen != r.warned, seen
	return warn
}

// findStream asks for the stream.
func (p *Publisher) findStream(ctx context.Context, l *link) (jetstream.StreamConfig, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AckWait)
	defer cancel()
	var cfg jetstream.StreamConfig
	err := p.request(ctx, l, infoSubject, func(ctx context.Context) error {
		s, err := l.js.Stream(ctx, Stream)
		if err == nil {
			cfg = s.CachedInfo().Config
		}
		return err //nolint:wrapcheck // It is, below.
	})
	if err != nil {
		return cfg, fmt.Errorf("signals: find stream: %w", err)
	}
	return cfg, nil
}

func isMissing(err error) bool { return errors.Is(err, jetstream.ErrStreamNotFound) }

// look sees to it that the stream is there, and warns if it does not take our subjects. Several processes
// may do so at once.
func (p *Publisher) look(ctx context.Context, l *link) error {
	found, err := p.findStream(ctx, l)
	if isMissing(err) {
		if err := p.createStream(ctx, l); err != nil {
			return err
		}
		found, err = p.findStream(ctx, l)
	}
	if err != nil {
		return err
	}
	if p.stream.note(found.Subjects) {
		p.log.WarnContext(ctx, "signals_stream_lacks_subjects", "stream", Stream,
			"has", found.Subjects, "wants", []string{signalSubjects, fleetSubjects})
	}
	return nil
}

func (p *Publisher) createStream(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AckWait)
	defer cancel()
	err := p.request(ctx, l, createSubject, func(ctx context.Context) error {
		_, err := l.js.CreateStream(ctx, streamConfig())
		return err //nolint:wrapcheck // It is, below.
	})
	switch {
	case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse):
		return nil // Somebody else has just created it, with other settings.
	case err != nil:
		return fmt.Errorf("signals: create stream: %w", err)
	}
	p.log.InfoContext(ctx, "signals_stream_created", "stream", Stream)
	return nil
}

// notForUs says that this client may publish and not look at streams, which leaves the stream to its owner.
func notForUs(err error) bool { return errors.Is(err, nats.ErrPermissionViolation) }

func anyCovers(patterns []string, subject string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return covers(pattern, subject) })
}

// covers says whether all that a subject stands for, which may have wildcards, is among what the pattern
// stands for.
func covers(pattern, subject string) bool {
	for {
		want, wanted, more := strings.Cut(pattern, ".")
		have, rest, further := strings.Cut(subject, ".")
		switch {
		case want == ">":
			return true
		case have == ">", want != "*" && want != have:
			return false
		case !more || !further:
			return more == further
		}
		pattern, subject = wanted, rest
	}
}
