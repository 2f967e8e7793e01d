package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// maxMessage bounds an event on its way between processes. It leaves room for an answer at its longest,
// 8 MiB, of nothing but line ends and quotation marks, which JSON writes in two bytes.
const maxMessage = 17 << 20

var (
	errMessageSize = fmt.Errorf("more than %d bytes", maxMessage)
	errMessageForm = errors.New("no event of a turn")
)

// encode makes the message that carries an event to other processes. from names the process.
func encode(from string, e Event) ([]byte, error) {
	p := e.Payload
	if p.size() > maxMessage {
		return nil, errMessageSize
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // It would make code six times as long.
	err := encoder.Encode(struct {
		From string  `json:"from,omitempty"`
		ID   uint64  `json:"id,omitempty"`
		Type string  `json:"type"`
		Data Payload `json:"data"`
	}{from, e.ID, p.Type(), p})
	switch {
	case err != nil:
		return nil, fmt.Errorf("encode event: %w", err)
	case out.Len() > maxMessage:
		return nil, errMessageSize
	}
	return out.Bytes(), nil
}

// relayed is what a message of another process says. The ids of a session grow in each process.
type relayed struct {
	from    string
	id      uint64
	payload Payload
}

// decode reads a message of another process, which may be of another version: a type that is not known
// here is a nil payload without an error, and fields that are not known are left out. What is returned does
// not share memory with the message.
func decode(message []byte) (relayed, error) {
	if len(message) > maxMessage {
		return relayed{}, errMessageSize
	}
	var m struct {
		From string          `json:"from"`
		ID   uint64          `json:"id"`
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(message, &m); err != nil {
		return relayed{}, errMessageForm // The parser's words may quote the message.
	}
	if m.Type == "" || len(m.Data) == 0 || m.Data[0] != '{' {
		return relayed{}, errMessageForm
	}
	p, err := decodePayload(m.Type, m.Data)
	if err != nil {
		return relayed{}, err
	}
	return relayed{m.From, m.ID, p}, nil
}

func decodePayload(kind string, data []byte) (Payload, error) {
	switch kind {
	case ModelSelection{}.Type():
		return decodeAs[ModelSelection](data)
	case Chunk{}.Type():
		return decodeAs[Chunk](data)
	case ToolCall{}.Type():
		p, err := decodeAs[ToolCall](data)
		if call, ok := p.(ToolCall); ok && call.Status != ToolRunning && call.Status != ToolDone {
			return nil, errMessageForm
		}
		return p, err
	case Done{}.Type():
		return decodeAs[Done](data)
	case Failure{}.Type():
		return decodeAs[Failure](data)
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
