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

// IdempotencyKey shows how the key of a call is made.
func IdempotencyKey(caller Caller, hash, path string) string {
	return idempotencyKey(caller, hash, path)
}

// AppendJSON shows the encoder of the key's parts.
func AppendJSON(to []byte, s string) []byte { return appendJSON(to, s) }
