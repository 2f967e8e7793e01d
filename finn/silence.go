package finn

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"dixie/spansanitizer"
)

// errNoAnswerInTime is the reason of a silence that a time limit ended.
var errNoAnswerInTime = errors.New("no answer within the time limit")

// noteSilence tells why Finn gives no answer: the first time as an error, then at debug level until the same end, HTTP or
// the socket, has answered. What a broken answer held is left out.
func (c *Client) noteSilence(ctx context.Context, route string, err error) {
	level := slog.LevelDebug
	if c.silence(route).CompareAndSwap(false, true) {
		level = slog.LevelError
	}
	if !c.logger.Enabled(ctx, level) {
		return
	}
	c.logger.LogAttrs(ctx, level, "finn_unreachable",
		slog.String("route", route), slog.String("error", spansanitizer.TextOf(withoutURL(err))))
}

// noteAnswer ends the silence of that end.
func (c *Client) noteAnswer(ctx context.Context, route string) {
	if silent := c.silence(route); silent.Load() && silent.CompareAndSwap(true, false) {
		c.logger.LogAttrs(ctx, slog.LevelInfo, "finn_answers_again", slog.String("route", route))
	}
}

func (c *Client) silence(route string) *atomic.Bool {
	if route == socketRoute {
		return &c.socketSilent
	}
	return &c.httpSilent
}
