package localfinn

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Bounds of a conversation's memory: the newest messages that fit into both.
const (
	// MaxHistory is how many messages a session remembers.
	MaxHistory = 40
	// MaxHistoryBytes is how much text a session remembers.
	MaxHistoryBytes = 256 << 10
)

// session is one conversation. Two locks, emitting before mu: emitting keeps
// the events of a turn in order on every socket and apart from those of the
// next turn; mu guards the fields and is never held while writing.
type session struct {
	id      string
	created time.Time

	emitting sync.Mutex

	mu        sync.Mutex
	active    time.Time              // GUARDED_BY(mu)
	abortTurn context.CancelFunc     // GUARDED_BY(mu); nil while no turn runs
	history   []Message              // GUARDED_BY(mu)
	messages  int                    // GUARDED_BY(mu)
	listeners map[*listener]struct{} // GUARDED_BY(mu)
}

// listener is a socket that wants the session's events.
type listener struct {
	send func(frame []byte)
}

func newSession(id string, now time.Time) *session {
	return &session{id: id, created: now, active: now, listeners: make(map[*listener]struct{})}
}

func (s *session) touch(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = now
}

func (s *session) activity() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}

func (s *session) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.abortTurn == nil && len(s.listeners) == 0
}

func (s *session) state() (streaming bool, messages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.abortTurn != nil, s.messages
}

func (s *session) attach(l *listener, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = now
	s.listeners[l] = struct{}{}
}

func (s *session) detach(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// abort ends the running turn, if there is one.
func (s *session) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abortTurn != nil {
		s.abortTurn()
	}
}

// steer adds to the conversation while a turn runs. The responder sees it with
// the next prompt.
func (s *session) steer(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abortTurn != nil {
		s.remember(Message{User, text})
	}
}

// remember requires mu.
func (s *session) remember(m Message) {
	s.messages++
	s.history = append(s.history, m)
	size := 0
	for i, m := range slices.Backward(s.history) {
		size += len(m.Text)
		if size > MaxHistoryBytes || len(s.history)-i > MaxHistory {
			s.history = slices.Clone(s.history[i+1:])
			return
		}
	}
}

// begin takes the session for a turn.
func (s *session) begin(prompt string, abort context.CancelFunc, now time.Time) (Turn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abortTurn != nil {
		return Turn{}, errBusy
	}
	s.abortTurn = abort
	s.active = now
	turn := Turn{SessionID: s.id, Prompt: prompt, History: slices.Clone(s.history)}
	s.remember(Message{User, prompt})
	return turn, nil
}

// end gives the session back.
func (s *session) end(answer string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abortTurn = nil
	s.active = now
	if answer != "" {
		s.remember(Message{Assistant, answer})
	}
}

// broadcast requires emitting.
func (s *session) broadcast(frames ...[]byte) {
	s.mu.Lock()
	listeners := make([]*listener, 0, len(s.listeners))
	for l := range s.listeners {
		listeners = append(listeners, l)
	}
	s.mu.Unlock()
	for _, l := range listeners {
		for _, f := range frames {
			l.send(f)
		}
	}
}
