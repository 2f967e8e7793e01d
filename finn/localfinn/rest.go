package localfinn

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"dixie/finn"
)

// maxBody bounds the body of a message: a prompt of a megabyte and its JSON.
const maxBody = finn.MaxFrame + 64<<10

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"status": "healthy",
		"uptime": time.Since(s.started).Seconds(),
		"checks": map[string]any{
			"agent":    map[string]string{"status": "ok", "model": s.responder.Model()},
			"sessions": map[string]int{"active": len(s.sessions.list(time.Now()))},
		},
		"ready_for_billing": false,
	})
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"status": "ok", "uptime": time.Since(s.started).Seconds()})
}

func (s *Server) healthDeps(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"status": "ready", "checks": map[string]any{}})
}

// isoMillis is the time format of JavaScript's Date.toISOString.
const isoMillis = "2006-01-02T15:04:05.000Z"

func (s *Server) createSession(w http.ResponseWriter, r *http.Request) {
	// The body is optional, a bad one counts as none, and the only field would
	// choose a personality, which a local Finn has not.
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody))
	sess, ok := s.sessions.create(time.Now())
	if !ok {
		writeError(w, http.StatusInternalServerError, "SESSION_CREATE_FAILED", "Failed to create session")
		return
	}
	writeJSON(w, http.StatusCreated, map[string]string{
		"sessionId": sess.id,
		"created":   sess.created.UTC().Format(isoMillis),
		"wsUrl":     "ws://" + r.Host + "/ws/" + sess.id,
	})
}

func (s *Server) listSessions(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		ID           string `json:"id"`
		Created      int64  `json:"created"`
		LastActivity int64  `json:"lastActivity"`
	}
	out := []entry{}
	for _, sess := range s.sessions.list(time.Now()) {
		out = append(out, entry{sess.id, sess.created.UnixMilli(), sess.activity().UnixMilli()})
	}
	writeJSON(w, http.StatusOK, map[string]any{"sessions": out})
}

func (s *Server) sessionState(w http.ResponseWriter, r *http.Request) {
	sess := s.sessions.get(r.PathValue("id"), time.Now())
	if sess == nil {
		writeError(w, http.StatusNotFound, "SESSION_NOT_FOUND", "Session not found")
		return
	}
	streaming, messages := sess.state()
	writeJSON(w, http.StatusOK, map[string]any{"id": sess.id, "isStreaming": streaming, "messageCount": messages})
}

func (s *Server) message(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var request struct {
		Text string `json:"text"`
	}
	if err != nil || json.Unmarshal(body, &request) != nil || strings.TrimSpace(request.Text) == "" {
		writeError(w, http.StatusBadRequest, "INVALID_REQUEST", "Message text required")
		return
	}
	id := r.PathValue("id")
	if !finn.ValidSessionID(id) {
		writeError(w, http.StatusNotFound, "SESSION_NOT_FOUND", "Session not found")
		return
	}
	sess, ok := s.sessions.resume(id, time.Now())
	if !ok {
		writeError(w, http.StatusInternalServerError, "SESSION_CREATE_FAILED", "Failed to create session")
		return
	}
	running, err := s.start(r.Context(), sess, request.Text)
	var turn finn.Turn
	if err == nil {
		turn, err = running.run()
	}
	if err != nil {
		writeError(w, http.StatusInternalServerError, "PROMPT_FAILED", "The prompt failed")
		return
	}
	type toolCall struct {
		Name   string          `json:"name"`
		Args   json.RawMessage `json:"args"`
		Result string          `json:"result"`
	}
	calls := []toolCall{}
	for _, call := range turn.ToolCalls {
		args := call.Args
		if len(args) == 0 {
			args = json.RawMessage("{}")
		}
		calls = append(calls, toolCall{call.Name, args, call.Result})
	}
	writeJSON(w, http.StatusOK, map[string]any{"response": turn.Response, "toolCalls": calls})
}
