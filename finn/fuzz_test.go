package finn_test

import (
	"bytes"
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

// FuzzIdempotencyKey compares with the encoder that Finn's own keys come from.
func FuzzIdempotencyKey(f *testing.F) {
	f.Add("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "sha256:00ff", "/api/sessions/s-1/message", "req-1")
	f.Add("", "", "", "")
	f.Add(`"\`, "<&>", "\u2028\u2029\x7f", "\x00\n\xff")
	f.Fuzz(func(t *testing.T, wallet, hash, path, id string) {
		tenant := wallet
		if wallet == "" {
			tenant = "anonymous"
		}
		want, err := json.Marshal([]string{tenant, hash, "loa-finn", path, id})
		if err != nil {
			t.Fatal(err)
		}
		got := finn.IdempotencyKey(finn.Caller{Wallet: wallet, RequestID: id}, hash, path)
		if got != sha(string(want)) {
			t.Errorf("the key is not that of %s", want)
		}
		for _, part := range []string{wallet, hash, path, id} {
			want, err := json.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			if got := finn.AppendJSON([]byte("x"), part); !bytes.Equal(got[1:], want) || got[0] != 'x' {
				t.Errorf("%q is written as %s, want %s", part, got[1:], want)
			}
		}
	})
}
