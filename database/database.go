// Package database opens the pool of connections to PostgreSQL that dixie's stores share.
package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Bounds and defaults of a pool.
const (
	DefaultSize = 10
	MaxSize     = 100
	// DefaultStatementTimeout is more than any request has: requests end by their own deadlines, and what a
	// client left behind ends by this.
	DefaultStatementTimeout = 20 * time.Second

	minConnections = 2
	idleTime       = 30 * time.Second
	connectTimeout = 5 * time.Second
	healthPeriod   = 15 * time.Second
)

// Config says which database, and how many connections.
type Config struct {
	// URL is a connection URL or DSN as pgx reads it. Its connect_timeout, statement_timeout and
	// application_name win over those of this package.
	URL string
	// Size is how many connections there are at most, from 2 to [MaxSize]; 0 is [DefaultSize].
	Size int
	// StatementTimeout is how long the server works on one statement; 0 is [DefaultStatementTimeout], below
	// it as long as it takes, for maintenance.
	StatementTimeout time.Duration
	// Application is what the database shows of this process; empty is "dixie".
	Application string
}

// Open makes a pool. It connects when it is first used, so that a database that is away at the start is
// like one that goes away later; the caller closes it after everything that uses it.
//
// A connection gets 5 s to be made and is closed after 30 s without use, except for two.
func Open(ctx context.Context, cfg Config) (*pgxpool.Pool, error) {
	cfg.Size = cmp.Or(cfg.Size, DefaultSize)
	if cfg.Size < minConnections || cfg.Size > MaxSize {
		return nil, fmt.Errorf("database: the size of the pool is %d, not within %d and %d", cfg.Size, minConnections, MaxSize)
	}
	if cfg.URL == "" {
		return nil, errors.New("database: the URL is empty")
	}
	pool, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		// The error of pgx masks the password of a well-formed URL.
		return nil, fmt.Errorf("database: %w", err)
	}
	pool.MaxConns, pool.MinConns = int32(cfg.Size), minConnections
	pool.MaxConnIdleTime, pool.HealthCheckPeriod = idleTime, healthPeriod
	pool.ConnConfig.ConnectTimeout = cmp.Or(pool.ConnConfig.ConnectTimeout, connectTimeout)
	cfg.Application = cmp.Or(cfg.Application, "dixie")
	cfg.StatementTimeout = cmp.Or(cfg.StatementTimeout, DefaultStatementTimeout)
	for name, value := range map[string]string{
		"application_name":  cfg.Application,
		"statement_timeout": strconv.FormatInt(max(0, cfg.StatementTimeout).Milliseconds(), 10),
	} {
		if pool.ConnConfig.RuntimeParams[name] == "" {
			pool.ConnConfig.RuntimeParams[name] = value
		}
	}
	opened, err := pgxpool.NewWithConfig(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return opened, nil
}
