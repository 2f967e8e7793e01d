package postgres

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"dixie/spansanitizer"
)

// tellAgain is how long a text of River that was told is not told again.
const tellAgain = time.Minute

// riverLog passes on what River says, sanitised and at a pace that people can read: its information, such as the job
// counts of each producer, as debug lines, and of its warnings and errors each text once a minute. While the database is
// away it has several a second. Texts of errors are part of its messages and of its attributes.
type riverLog struct {
	slog.Handler

	told *toldTexts
}

// toldTexts remembers which text was told when. There are as many as River has messages.
type toldTexts struct {
	mu sync.Mutex
	at map[string]time.Time // GUARDED_BY(mu)
}

func newRiverLog(logger *slog.Logger) *slog.Logger {
	return slog.New(riverLog{logger.Handler(), &toldTexts{at: make(map[string]time.Time)}})
}

// Enabled implements [slog.Handler].
func (h riverLog) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, lowered(level))
}

// Handle implements [slog.Handler].
func (h riverLog) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lowered(r.Level)
	if r.Level >= slog.LevelWarn && !h.told.first(r.Message, r.Time) {
		return nil
	}
	// Errors of the database have several lines.
	record := slog.NewRecord(r.Time, r.Level, spansanitizer.ErrorText(strings.Join(strings.Fields(r.Message), " ")), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		record.AddAttrs(sanitised(a))
		return true
	})
	return h.Handler.Handle(ctx, record) //nolint:wrapcheck // It is the very handler's.
}

// sanitised keeps what can hold no text, and the sanitised text of the rest.
func sanitised(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64, slog.KindDuration, slog.KindTime:
		return a
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			return slog.String(a.Key, spansanitizer.TextOf(err))
		}
	default:
	}
	return slog.String(a.Key, spansanitizer.ErrorText(a.Value.String()))
}

// WithAttrs implements [slog.Handler].
func (h riverLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	attrs = slices.Clone(attrs)
	for i, a := range attrs {
		attrs[i] = sanitised(a)
	}
	return riverLog{h.Handler.WithAttrs(attrs), h.told}
}

// WithGroup implements [slog.Handler].
func (h riverLog) WithGroup(name string) slog.Handler {
	return riverLog{h.Handler.WithGroup(name), h.told}
}

func lowered(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}

func (t *toldTexts) first(text string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := t.at[text]; ok && now.Sub(at) < tellAgain {
		return false
	}
	t.at[text] = now
	return true
}
