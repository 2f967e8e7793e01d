package localfinn

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// DefaultTurnTimeout bounds a turn when [Config] does not say otherwise. It
// leaves [Echo] time for a long answer after its longest sleep ([MaxSleep]).
const DefaultTurnTimeout = 20 * time.Minute

// Config shapes a [Server]. The zero value is an open Finn that echoes.
type Config struct {
	// Token is what clients must present. Empty: everybody may call.
	Token string
	// Responder answers. Nil: [Echo] with WordDelay.
	Responder Responder
	// WordDelay is the pause before each word of the built-in responder. With a
	// Responder of one's own it has no effect.
	WordDelay time.Duration
	// TurnTimeout bounds a turn, over HTTP and on a socket alike. What the
	// responder has not said by then is not waited for: its context ends, and
	// the model counts as failed. 0 or less: [DefaultTurnTimeout].
	TurnTimeout time.Duration
	// Logger takes failures of the responder. Nil: nothing is logged.
	Logger *slog.Logger
}

// Server is a local Finn as an http.Handler. It is safe for concurrent use.
type Server struct {
	token     [sha256.Size]byte
	open      bool
	responder Responder
	limit     time.Duration
	logger    *slog.Logger
	handler   http.Handler
	started   time.Time
	sessions  *registry
	sockets   socketBook

	// Turns and sockets run until stop, or until Close has seen them end.
	life context.Context //nolint:containedctx // The lifetime of what the server runs.
	stop context.CancelFunc

	mu     sync.Mutex
	closed bool           // GUARDED_BY(mu)
	turns  sync.WaitGroup // Add GUARDED_BY(mu)
	wires  sync.WaitGroup // Add GUARDED_BY(mu)
}

// New makes a Server. Routes:
//
//	GET  /health, /healthz, /health/deps
//	POST /api/sessions
//	GET  /api/sessions
//	GET  /api/sessions/{id}
//	POST /api/sessions/{id}/message
//	GET  /ws/{id}   (WebSocket)
//
// The caller must close it.
func New(cfg Config) *Server {
	s := &Server{
		token:     sha256.Sum256([]byte(cfg.Token)),
		open:      cfg.Token == "",
		responder: cfg.Responder,
		limit:     cfg.TurnTimeout,
		logger:    cfg.Logger,
		started:   time.Now(),
		sessions:  newRegistry(),
	}
	if s.responder == nil {
		s.responder = Echo{WordDelay: cfg.WordDelay}
	}
	if s.limit <= 0 {
		s.limit = DefaultTurnTimeout
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.life, s.stop = context.WithCancel(context.Background())
	s.handler = s.routes()
	return s
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /health/deps", s.healthDeps)
	mux.Handle("POST /api/sessions", s.guarded(s.createSession))
	mux.Handle("GET /api/sessions", s.guarded(s.listSessions))
	mux.Handle("GET /api/sessions/{id}", s.guarded(s.sessionState))
	mux.Handle("POST /api/sessions/{id}/message", s.guarded(s.message))
	mux.HandleFunc("GET /ws/{id...}", s.socket)
	// Finn answers an unknown path, and a known one with another method, alike,
	// but asks for the token first below /api/.
	mux.Handle("/api/", s.guarded(notFound))
	mux.HandleFunc("/", notFound)
	// Without a token, any page that the developer's browser shows could prompt
	// the model.
	return http.NewCrossOriginProtection().Handler(mux)
}

// ServeHTTP serves the routes that [New] lists.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Shutdown takes no more prompts, waits until running turns have ended or ctx
// does, and closes as [Server.Close] does.
func (s *Server) Shutdown(ctx context.Context) error {
	s.refuse()
	_ = await(ctx, &s.turns) // What is still running then is aborted.
	return s.Close(ctx)
}

// Close takes no more prompts, aborts running turns, closes sockets with 1001
// and waits until all have ended or ctx has, whose error it returns then. With
// a ctx that has ended already it waits for two seconds. It is idempotent.
func (s *Server) Close(ctx context.Context) error {
	s.refuse()
	s.stop()
	if ctx.Err() != nil {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		ctx = bounded
	}
	if err := await(ctx, &s.turns); err != nil {
		return err
	}
	return await(ctx, &s.wires)
}

func (s *Server) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

func await(ctx context.Context, group *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter books work of one kind, unless the server is closed.
func (s *Server) enter(group *sync.WaitGroup) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	group.Add(1)
	return true
}

func (s *Server) tokenMatches(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}

func (s *Server) guarded(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.open {
			scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			if !strings.EqualFold(scheme, "bearer") || token == "" {
				writeError(w, http.StatusUnauthorized, "AUTH_REQUIRED", "Unauthorized")
				return
			}
			if !s.tokenMatches(token) {
				writeError(w, http.StatusUnauthorized, "AUTH_INVALID", "Unauthorized")
				return
			}
		}
		next(w, r)
	})
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte("404 Not Found"))
}

func writeError(w http.ResponseWriter, status int, code, text string) {
	writeJSON(w, status, map[string]string{"error": text, "code": code})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"Internal error","code":"INTERNAL_ERROR"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
