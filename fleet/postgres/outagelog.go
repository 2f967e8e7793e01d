package postgres

import (
	"context"
	"log/slog"

	"dixie/spansanitizer"
)

// outageLog tells once that something does not work, and once that it does again. It is for one goroutine.
type outageLog struct {
	log         *slog.Logger
	fails, goes string
	failing     bool
}

func (o *outageLog) note(ctx context.Context, err error) {
	switch {
	case err != nil && !o.failing:
		o.log.WarnContext(ctx, o.fails, "error", spansanitizer.TextOf(err)) //nolint:sloglint // A constant of the caller's.
	case err == nil && o.failing:
		o.log.InfoContext(ctx, o.goes) //nolint:sloglint // As above.
	}
	o.failing = err != nil
}
