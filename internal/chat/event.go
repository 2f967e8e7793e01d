package chat

// The types of event.
const (
	TypeModelSelection = "model_selection"
	TypeChunk          = "chunk"
	TypeToolCall       = "tool_call"
	TypeDone           = "done"
	TypeError          = "error"
)

// Event is something that a client is shown. Ids rise within a session.
type Event struct {
	ID   uint64
	Type string
	// Data is one of the structs of this file, according to Type.
	Data any
}

// ModelSelection says by which pool the turn is answered.
type ModelSelection struct {
	Model  string `json:"model"`
	Pool   string `json:"pool"`
	Reason string `json:"reason"`
}

// Chunk is a piece of the answer.
type Chunk struct {
	Content string `json:"content"`
}

// ToolCall is a tool at work (running) or its result (done).
type ToolCall struct {
	Name string `json:"name"`
	// Args is JSON as text.
	Args   string  `json:"args"`
	Status string  `json:"status"`
	Result *string `json:"result,omitempty"`
}

// Done ends a turn with the whole text, so that a client which lost a chunk ends right.
type Done struct {
	Content string `json:"content"`
}

// Failure ends a turn that failed.
type Failure struct {
	Message string `json:"message"`
}

// size is about what the event costs to keep.
func (e Event) size() int {
	const overhead = 128
	switch d := e.Data.(type) {
	case Chunk:
		return overhead + len(d.Content)
	case Done:
		return overhead + len(d.Content)
	case ToolCall:
		n := overhead + len(d.Name) + len(d.Args)
		if d.Result != nil {
			n += len(*d.Result)
		}
		return n
	default:
		return overhead
	}
}
