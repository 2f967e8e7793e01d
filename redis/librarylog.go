package redis

import (
	"context"
	"fmt"
	"log/slog"

	"dixie/spansanitizer"
)

// LibraryLog passes on what go-redis writes to the logger of the process; see the package's description.
type LibraryLog struct{ logger *slog.Logger }

// NewLibraryLog makes a logger for goredis.SetLogger. Its records are warnings; nil discards them.
func NewLibraryLog(logger *slog.Logger) *LibraryLog {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &LibraryLog{logger: logger}
}

// Printf implements the logging interface of go-redis.
func (l *LibraryLog) Printf(ctx context.Context, format string, v ...any) {
	l.logger.WarnContext(ctx, "go_redis", slog.String("text", spansanitizer.ErrorText(fmt.Sprintf(format, v...))))
}
