package finn

import (
	"context"
	"log/slog"

	"dixie/spansanitizer"
)

// noteSilence tells why Finn gives no answer: the first time as an error, then at debug level until it has answered.
// What a broken answer held is left out.
func (c *Client) noteSilence(ctx context.Context, route string, err error) {
	level := slog.LevelDebug
	if c.silent.CompareAndSwap(false, true) {
		level = slog.LevelError
	}
	if !c.logger.Enabled(ctx, level) {
		return
	}
	c.logger.LogAttrs(ctx, level, "finn_unreachable",
		slog.String("route", route), slog.String("error", spansanitizer.ErrorText(withoutURL(err).Error())))
}

// noteAnswer ends the silence.
func (c *Client) noteAnswer(ctx context.Context) {
	if c.silent.Load() && c.silent.CompareAndSwap(true, false) {
		c.logger.InfoContext(ctx, "finn_answers_again")
	}
}
