package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"go.opentelemetry.io/otel/attribute"

	"dixie/finn"
	"dixie/internal/auth"
	"dixie/internal/chat"
	"dixie/spansanitizer"
)

const (
	socketPing  = 30 * time.Second
	socketIdle  = 5 * time.Minute
	socketWrite = 10 * time.Second
	socketFrame = 1 << 20
	socketKey   = 16
)

// refuseSocket answers an upgrade with the bare code that clients of this socket know.
func (a *API) refuseSocket(w http.ResponseWriter, status int, code string) error {
	w.Header().Set("Connection", "close")
	return a.writeJSON(w, status, struct {
		Error string `json:"error"`
	}{code})
}

// getSocket relays the events of a session to its owner. The ticket is used up by the first try.
func (a *API) getSocket(w http.ResponseWriter, r *http.Request) error {
	ticket := r.URL.Query().Get("ticket")
	if ticket == "" {
		return a.refuseSocket(w, http.StatusUnauthorized, "missing_ticket")
	}
	if !isUpgrade(r) {
		// Before the ticket is used up by a request that could not have used it.
		h := w.Header()
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", "websocket")
		return &apiError{Status: http.StatusUpgradeRequired, Code: "upgrade_required", Message: "This path speaks WebSocket only"}
	}
	address, ok, err := a.redeem(r, ticket)
	if err != nil {
		return err // The ticket may be good.
	}
	if !ok {
		return a.refuseSocket(w, http.StatusUnauthorized, "invalid_ticket")
	}
	id := r.PathValue("sessionId")
	if !finn.ValidSessionID(id) {
		return a.refuseSocket(w, http.StatusUnauthorized, "invalid_session_id")
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if _, allowed := a.origins[origin]; !allowed {
			return a.refuseSocket(w, http.StatusForbidden, "forbidden_origin")
		}
	}
	identity := auth.Identity{Kind: auth.Wallet, Wallet: address}
	events, err := a.cfg.Chat.Attach(r.Context(), identity.Owner(), id)
	if err != nil {
		exchangeFrom(r.Context()).cause = err
		if errors.Is(err, chat.ErrSessionNotFound) {
			return a.refuseSocket(w, http.StatusForbidden, "forbidden_session")
		}
		return a.refuseSocket(w, http.StatusUnauthorized, "upstream_unavailable")
	}
	defer events.Close()
	// The origin was checked above, by whole origins rather than by host patterns.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return fmt.Errorf("accept socket: %w", err)
	}
	defer func() { _ = conn.CloseNow() }()
	a.cfg.Metrics.SocketOpened(r.Context())
	defer a.cfg.Metrics.SocketClosed(r.Context())
	conn.SetReadLimit(socketFrame)
	ctx, cancel := a.streamContext(r.Context())
	defer cancel()
	a.relay(ctx, conn, events)
	return nil
}

// redeem is authentication by a ticket, inside its span. ok says that the ticket is good, and its wallet on the list.
func (a *API) redeem(r *http.Request, ticket string) (address string, ok bool, err error) {
	ctx, span := spansanitizer.StartSpan(r.Context(), a.cfg.Tracer, spansanitizer.Auth)
	defer span.End()
	address, ok, err = a.cfg.Tickets.Redeem(ctx, ticket)
	ok = ok && a.cfg.Allowlist.AllowsWallet(address)
	if span == nil {
		return address, ok, err
	}
	tier := unknownTier
	if cached, known := a.cfg.Tiers.Cached(ctx, address); known {
		tier = cached.Tier.String()
	}
	span.SetAttributes(attribute.String(spansanitizer.AuthType, "ticket"),
		attribute.String(spansanitizer.Wallet, address), attribute.String(spansanitizer.Tier, tier))
	switch {
	case err != nil:
		span.Fail(err)
	case !ok:
		span.Fail(refusal("ticket"))
	}
	return address, ok, err
}

// isUpgrade says whether the request opens a WebSocket (RFC 6455, section 4.2.1).
func isUpgrade(r *http.Request) bool {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	return err == nil && len(key) == socketKey && r.Header.Get("Sec-WebSocket-Version") == "13" &&
		hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

// hasToken looks for a word in a header that is a list.
func hasToken(h http.Header, name, word string) bool {
	for _, value := range h.Values(name) {
		for token := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(token), word) {
				return true
			}
		}
	}
	return false
}

// relay sends events until the client leaves, falls silent for five minutes or the service stops.
func (a *API) relay(ctx context.Context, conn *websocket.Conn, events *chat.Subscription) {
	stopped := context.AfterFunc(ctx, func() { _ = conn.Close(websocket.StatusGoingAway, "shutting down") })
	defer stopped()
	// Frames are read and written under a context of their own: one that ends in the middle of a frame
	// would tear the connection down without a close frame.
	detached, end := context.WithCancel(context.WithoutCancel(ctx))
	idle := time.AfterFunc(socketIdle, func() { _ = conn.Close(websocket.StatusNormalClosure, "idle") })
	var helpers sync.WaitGroup
	defer func() {
		idle.Stop()
		end()
		_ = conn.CloseNow()
		helpers.Wait()
	}()
	helpers.Go(func() {
		defer end()
		for {
			// The client has nothing to say: its frames only show that it is there.
			if _, _, err := conn.Read(detached); err != nil {
				return
			}
			idle.Reset(socketIdle)
		}
	})
	helpers.Go(func() { keepAlive(detached, conn, idle) })
	for {
		e, err := events.Next(detached)
		if err != nil {
			if errors.Is(err, chat.ErrSlowReader) || errors.Is(err, chat.ErrDisplaced) {
				_ = conn.Close(websocket.StatusPolicyViolation, "too slow or displaced")
			}
			return
		}
		frame, err := json.Marshal(struct {
			Type string       `json:"type"`
			Data chat.Payload `json:"data"`
		}{e.Payload.Type(), e.Payload})
		if err != nil {
			a.cfg.Logger.ErrorContext(ctx, "event not encoded", "event_type", e.Payload.Type(), "error", spansanitizer.TextOf(err))
			continue
		}
		err = bounded(detached, socketWrite, func(ctx context.Context) error {
			return conn.Write(ctx, websocket.MessageText, frame)
		})
		if err != nil {
			return
		}
	}
}

// keepAlive pings the client; an answer counts as a sign of life.
func keepAlive(ctx context.Context, conn *websocket.Conn, idle *time.Timer) {
	ping := time.NewTicker(socketPing)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ping.C:
			if bounded(ctx, socketWrite, conn.Ping) == nil {
				idle.Reset(socketIdle)
			}
		}
	}
}

func bounded(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}
