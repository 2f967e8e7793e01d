package chat

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMessages(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]Payload{
		`{"type":"model_selection","data":{"model":"m","pool":"p","reason":"r"}}`:             ModelSelection{Model: "m", Pool: "p", Reason: "r"},
		`{"type":"chunk","data":{"content":"<&>\n"}}`:                                         Chunk{Content: "<&>\n"},
		`{"type":"tool_call","data":{"name":"n","args":"{}","status":"running"}}`:             ToolCall{Name: "n", Args: "{}", Status: ToolRunning},
		`{"type":"tool_call","data":{"name":"","args":"","status":"done","result":"\u0000"}}`: ToolCall{Status: ToolDone, Result: "\x00"},
		`{"type":"done","data":{"content":"é"}}`:                                              Done{Content: "é"},
		`{"type":"error","data":{"message":""}}`:                                              Failure{},
	} {
		message, err := encode("", Event{Payload: p})
		if err != nil || strings.TrimSpace(string(message)) != want {
			t.Errorf("encode = %s, %v; want %s", message, err, want)
		}
		got, err := decode(message)
		if diff := cmp.Diff(p, got.payload); diff != "" || err != nil {
			t.Errorf("decode: %v (-want +got)\n%s", err, diff)
		}
	}
}

func TestMessagesOfOtherVersions(t *testing.T) {
	t.Parallel()
	if m, err := decode([]byte(`{"type":"usage","data":{"tokens":1}}`)); m.payload != nil || err != nil {
		t.Errorf("an unknown type: %v, %v; want nothing", m, err)
	}
	m, err := decode([]byte(`{"v":2,"type":"chunk","data":{"content":"x","index":3}}`))
	if m.payload != (Chunk{Content: "x"}) || err != nil {
		t.Errorf("unknown fields: %v, %v; want the chunk", m, err)
	}
}

func TestWhatIsNoMessage(t *testing.T) {
	t.Parallel()
	for _, message := range []string{
		``, `null`, `{}`, `[]`, `"chunk"`, `{"type":"chunk"}`, `{"type":"chunk","data":null}`, `{"type":"chunk","data":[]}`,
		`{"type":"chunk","data":"x"}`, `{"type":"chunk","data":{"content":1}}`, `{"data":{"content":"x"}}`,
		`{"type":"chunk","data":{"content":"x"}} {}`, `{"type":"chunk","data":{"content":"x"}`, `{"type":7,"data":{}}`,
		`{"type":"tool_call","data":{"name":"n","args":"{}","status":"lost"}}`, `{"type":"tool_call","data":{}}`,
		`{"type":"done","data":{"content":"` + strings.Repeat("x", maxMessage) + `"}}`,
		strings.Repeat("[", 1<<20),
	} {
		if m, err := decode([]byte(message)); m != (relayed{}) || err == nil {
			t.Errorf("decode(%.60s) = %v, %v; want an error", message, m, err)
		}
	}
	for name, p := range map[string]Payload{
		"long": Done{Content: strings.Repeat("x", maxMessage+1)}, "long when encoded": Done{Content: strings.Repeat("\n", maxMessage/2)},
	} {
		if _, err := encode("", Event{Payload: p}); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
	if message, err := encode("", Event{Payload: Done{Content: strings.Repeat("x", 8<<20)}}); err != nil || len(message) > maxMessage {
		t.Errorf("the longest answer: %d bytes, %v", len(message), err)
	}
}

// FuzzDecode: whatever a message says, it is an event that can be said again, or none.
func FuzzDecode(f *testing.F) {
	for _, p := range []Payload{
		ModelSelection{Model: "m"}, Chunk{Content: "c"}, ToolCall{Name: "n", Args: "{}", Status: ToolDone, Result: "r"}, Done{}, Failure{},
	} {
		message, err := encode("process", Event{ID: 7, Payload: p})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
	}
	f.Add([]byte(`{"type":"usage","data":{}}`))
	f.Add([]byte(`{"TYPE":"chunk","data":{"content":"\ud800"},"data":{}}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		m, err := decode(message)
		if err != nil && m != (relayed{}) {
			t.Fatalf("%v with the error %v", m, err)
		}
		if m.payload == nil {
			return
		}
		again, err := encode(m.from, Event{ID: m.id, Payload: m.payload})
		if err != nil {
			t.Fatalf("encode(%v): %v", m, err)
		}
		if got, err := decode(again); err != nil || got != m {
			t.Fatalf("decode(encode(%v)) = %v, %v", m, got, err)
		}
	})
}
