package finn

import (
	"encoding/json"
	"time"
)

// DecodeFrame shows the decoder of socket frames to its fuzz test: the event,
// whether the frame carries one, and the error.
func DecodeFrame(text []byte) (Event, bool, error) {
	f, err := decodeFrame(text)
	return f.event, err == nil && f.signal == signalEvent, err
}

// RetryAfter shows the header's parser.
func RetryAfter(value string, now time.Time) time.Duration { return retryAfter(value, now) }

// CodeOf shows the parser of codes.
func CodeOf(raw json.RawMessage) string { return codeOf(raw) }
