package main

import (
	"context"
	"log"
	"log/slog"

	"dixie/spansanitizer"
)

// complaints are what net/http has to say of clients, with their addresses, and of panics, with whatever they were about.
type complaints struct{ slog.Handler }

// complainTo is for [net/http.Server.ErrorLog]: each line is a warning, sanitised.
func complainTo(logger *slog.Logger) *log.Logger {
	return slog.NewLogLogger(complaints{logger.Handler()}, slog.LevelWarn)
}

// Handle implements [slog.Handler].
func (c complaints) Handle(ctx context.Context, r slog.Record) error {
	record := slog.NewRecord(r.Time, r.Level, "net_http", r.PC)
	record.AddAttrs(slog.String("text", spansanitizer.ErrorText(r.Message)))
	return c.Handler.Handle(ctx, record) //nolint:wrapcheck // It is the very handler's.
}
