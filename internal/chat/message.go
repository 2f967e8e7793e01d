package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// maxMessage bounds an event on its way between processes. It leaves room for an answer at its longest,
// 8 MiB, and what it takes to say it in JSON.
const maxMessage = 9 << 20

var (
	errMessageSize = fmt.Errorf("more than %d bytes", maxMessage)
	errMessageForm = errors.New("no event of a turn")
)

// encode makes the message that carries an event to other processes.
func encode(p Payload) ([]byte, error) {
	if p.size() > maxMessage {
		return nil, errMessageSize
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // It would make code six times as long.
	err := encoder.Encode(struct {
		Type string  `json:"type"`
		Data Payload `json:"data"`
	}{p.Type(), p})
	switch {
	case err != nil:
		return nil, fmt.Errorf("encode event: %w", err)
	case out.Len() > maxMessage:
		return nil, errMessageSize
	}
	return out.Bytes(), nil
}

// decode reads a message of another process, which may be of another version: a type that is not known
// here is nil without an error, and fields that are not known are left out. The payload does not share
// memory with the message.
func decode(message []byte) (Payload, error) {
	if len(message) > maxMessage {
		return nil, errMessageSize
	}
	var m struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(message, &m); err != nil {
		return nil, errMessageForm // The parser's words may quote the message.
	}
	if m.Type == "" || len(m.Data) == 0 || m.Data[0] != '{' {
		return nil, errMessageForm
	}
	switch m.Type {
	case ModelSelection{}.Type():
		return decodeAs[ModelSelection](m.Data)
	case Chunk{}.Type():
		return decodeAs[Chunk](m.Data)
	case ToolCall{}.Type():
		p, err := decodeAs[ToolCall](m.Data)
		if call, ok := p.(ToolCall); ok && call.Status != ToolRunning && call.Status != ToolDone {
			return nil, errMessageForm
		}
		return p, err
	case Done{}.Type():
		return decodeAs[Done](m.Data)
	case Failure{}.Type():
		return decodeAs[Failure](m.Data)
	default:
		return nil, nil //nolint:nilnil // Nothing to hand out, and nothing wrong.
	}
}

func decodeAs[P Payload](data []byte) (Payload, error) {
	var p P
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, errMessageForm
	}
	return p, nil
}
