package localfinn

import (
	"context"

	"dixie/finn"
)

// Role is who said a [Message].
type Role string

// The roles.
const (
	User      Role = "user"
	Assistant Role = "assistant"
)

// Message is a part of a conversation.
type Message struct {
	Role Role
	Text string
}

// Turn is what a [Responder] is asked.
type Turn struct {
	SessionID string
	Prompt    string
	// History is what was said before, oldest first, without Prompt. It is the
	// responder's own copy.
	History []Message
}

// Responder answers prompts. One value serves every session at once.
type Responder interface {
	// Model names the model, for GET /health.
	Model() string
	// Respond answers turn by calling emit, from its own goroutine and not
	// after it returns, with text as it is made and with tools as they start
	// and end. It must return soon after ctx has ended, as it does when the turn
	// is aborted or takes too long ([Config]). An error means that the
	// model failed; its text is logged and must hold neither the prompt nor a
	// key. emit blocks while the slowest listener takes the event.
	Respond(ctx context.Context, turn Turn, emit func(finn.Event)) error
}
