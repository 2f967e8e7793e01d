package finn_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"dixie/finn"
)

func FuzzDecodeEvent(f *testing.F) {
	for _, seed := range []string{
		hello, end, `{"type":"pong"}`, `{"type":"tool_start","data":{"toolName":"a","args":[1]}}`,
		`{"type":"tool_end","data":{"toolName":"a","result":{"x":null},"isError":true}}`,
		`{"type":"error","data":{"message":"x","recoverable":true}}`, `{"type":"x","data":7}`, `{}`, `null`, `[]`, `{"type":`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		event, carries, err := finn.DecodeFrame(frame)
		if err != nil || !carries {
			if event.Kind != 0 {
				t.Errorf("an event without an event: %+v", event)
			}
			return
		}
		switch event.Kind {
		case finn.TextDelta:
			if event.Tool != "" || event.Args != nil || event.Result != "" {
				t.Errorf("text with a tool: %+v", event)
			}
		case finn.ToolStart, finn.ToolEnd:
			if event.Tool == "" || event.Text != "" {
				t.Errorf("tool event %+v", event)
			}
		default:
			t.Errorf("kind %v", event.Kind)
		}
		if event.Args != nil && !json.Valid(event.Args) {
			t.Errorf("arguments %q are not JSON", event.Args)
		}
		if utf8.Valid(frame) && !utf8.ValidString(event.Text+event.Result) {
			t.Errorf("invalid UTF-8 out of valid: %+v", event)
		}
	})
}

func FuzzCodeOf(f *testing.F) {
	f.Add([]byte(`"RATE_LIMITED"`))
	f.Add([]byte(`"Too Many Requests"`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		code := finn.CodeOf(raw)
		if len(code) > 64 {
			t.Errorf("code of %d bytes", len(code))
		}
		for _, c := range code {
			if c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
				t.Errorf("code %q", code)
			}
		}
	})
}
