// Package postgres remembers in PostgreSQL who owns a chat session, in the table that package migrate
// makes. It is the store for dixie.ChatConfig.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"dixie/database"
	"dixie/internal/chat"
)

const (
	// cachedSessions bounds the sessions that are remembered for when the database is away.
	cachedSessions = 10_000
	// answerTime is how long the database has for an answer. A turn may take minutes; knowing whose
	// session it is must not.
	answerTime = 3 * time.Second
)

// Sessions is a session store on PostgreSQL, safe for concurrent use by any number of processes. Of each
// owner it keeps the 1000 sessions that were last active. The last 10,000 sessions that it has seen can
// be told also while the database is away: the owner of a session never changes.
type Sessions struct {
	pool *pgxpool.Pool
	seen *lru.Cache[string, chat.Session]
}

var _ chat.SessionStore = (*Sessions)(nil)

// New returns a store on the pool, which the caller keeps and closes after everything that uses the store. Without a
// pool there is no store: it is nil then, which dixie.New refuses.
func New(pool *pgxpool.Pool) *Sessions {
	if pool == nil {
		return nil
	}
	seen, _ := lru.New[string, chat.Session](cachedSessions) // It fails on a size of zero or less, and on nothing else.
	return &Sessions{pool: pool, seen: seen}
}

const (
	insert = `INSERT INTO chat_sessions (session_id, owner, first_message, turns, created_at, last_activity)
		VALUES ($1, $2, $3, $4, $5, $6)`
	forget = `DELETE FROM chat_sessions WHERE owner = $1 AND session_id IN (
		SELECT session_id FROM chat_sessions WHERE owner = $1 ORDER BY last_activity DESC, created_at DESC OFFSET $2)
		RETURNING session_id`
	columns = `session_id, owner, first_message, turns, created_at, last_activity`
	get     = `SELECT ` + columns + ` FROM chat_sessions WHERE session_id = $1`
	touch   = `UPDATE chat_sessions SET turns = turns + 1, last_activity = greatest(last_activity, $2) WHERE session_id = $1 RETURNING ` + columns
	list    = `SELECT ` + columns + ` FROM chat_sessions WHERE owner = $1 ORDER BY last_activity DESC, created_at DESC LIMIT $2`
)

// Create implements the store. An id that exists is refused.
func (s *Sessions) Create(ctx context.Context, session chat.Session) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	queries := &pgx.Batch{}
	// The one character that a text of PostgreSQL cannot have.
	session.FirstMessage = strings.ReplaceAll(session.FirstMessage, "\x00", "")
	queries.Queue(insert, session.ID, session.Owner, session.FirstMessage, session.Turns, session.CreatedAt, session.LastActivity)
	queries.Queue(forget, session.Owner, chat.MaxPerOwner).Query(func(rows pgx.Rows) error {
		gone, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for _, id := range gone {
			s.seen.Remove(id)
		}
		return err //nolint:wrapcheck // Close returns it, and says below what it is about.
	})
	if err := s.pool.SendBatch(ctx, queries).Close(); err != nil {
		return unavailable("create a session", err)
	}
	s.seen.Add(session.ID, session)
	return nil
}

// Get implements the store. While the database is away it answers from memory, if it can.
func (s *Sessions) Get(ctx context.Context, id string) (chat.Session, error) {
	asking, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	session, err := s.one(asking, get, id)
	if err == nil || errors.Is(err, chat.ErrSessionNotFound) || ctx.Err() != nil {
		return session, err
	}
	if known, ok := s.seen.Get(id); ok {
		return known, nil
	}
	return chat.Session{}, err
}

// Touch implements the store.
func (s *Sessions) Touch(ctx context.Context, id string, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_, err := s.one(ctx, touch, id, at)
	return err
}

// one runs a statement that returns one session, and remembers it.
func (s *Sessions) one(ctx context.Context, statement, id string, args ...any) (chat.Session, error) {
	rows, err := s.pool.Query(ctx, statement, append([]any{id}, args...)...)
	if err != nil {
		return chat.Session{}, unavailable("look for a session", err)
	}
	session, err := pgx.CollectExactlyOneRow(rows, scan)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		s.seen.Remove(id)
		return chat.Session{}, chat.ErrSessionNotFound
	case err != nil:
		return chat.Session{}, unavailable("look for a session", err)
	}
	s.seen.Add(id, session)
	return session, nil
}

// List implements the store.
func (s *Sessions) List(ctx context.Context, owner string, limit int) ([]chat.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if limit <= 0 || limit > chat.MaxPerOwner {
		limit = chat.MaxPerOwner
	}
	rows, err := s.pool.Query(ctx, list, owner, limit)
	if err != nil {
		return nil, unavailable("list sessions", err)
	}
	sessions, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, unavailable("list sessions", err)
	}
	return sessions, nil
}

func scan(row pgx.CollectableRow) (chat.Session, error) {
	var s chat.Session
	err := row.Scan(&s.ID, &s.Owner, &s.FirstMessage, &s.Turns, &s.CreatedAt, &s.LastActivity)
	s.CreatedAt, s.LastActivity = s.CreatedAt.UTC(), s.LastActivity.UTC()
	return s, err //nolint:wrapcheck // The callers say what they were doing.
}

func unavailable(doing string, err error) error {
	return fmt.Errorf("%s: %w: %w", doing, chat.ErrStoreUnavailable, database.Explain(err))
}
