package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"dixie"
	chatpostgres "dixie/chat/postgres"
	"dixie/database"
	fleetpostgres "dixie/fleet/postgres"
	"dixie/migrate"
	reputationpostgres "dixie/reputation/postgres"
)

// migrationTimeout bounds the start: a migration that another replica runs may take a while.
const migrationTimeout = 10 * time.Minute

// stores are what outlives the process. Without a database there are none, and everything is in memory.
type stores struct {
	pool *pgxpool.Pool
	// retention is how long tasks are kept that have ended; 0 is for ever.
	retention time.Duration
}

// openStores brings the database to the schema that this version needs and opens the pool.
func openStores(ctx context.Context, c config, logger *slog.Logger) (*stores, error) {
	if c.databaseURL == "" {
		return &stores{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, migrationTimeout)
	defer cancel()
	m, err := migrate.New(c.databaseURL, migrate.Config{Logger: logger})
	if err != nil {
		return nil, err
	}
	if _, err := m.Up(ctx); err != nil {
		return nil, fmt.Errorf("the database of DATABASE_URL cannot be brought up to date: %w", err)
	}
	pool, err := database.Open(context.WithoutCancel(ctx), database.Config{URL: c.databaseURL, Size: c.poolSize, Application: "dixie-bff"})
	if err != nil {
		return nil, err
	}
	return &stores{pool, c.taskRetention}, nil
}

// options hand the stores to the Handler.
func (s *stores) options(logger *slog.Logger) ([]dixie.Option, error) {
	if s.pool == nil {
		return nil, nil
	}
	tasks, err := fleetpostgres.New(fleetpostgres.Config{Pool: s.pool, Logger: logger, Retention: s.retention})
	if err != nil {
		return nil, err
	}
	return []dixie.Option{
		dixie.WithFleet(dixie.FleetConfig{Store: tasks}),
		dixie.WithReputation(dixie.ReputationConfig{Store: reputationpostgres.New(s.pool)}),
		dixie.WithChat(dixie.ChatConfig{Sessions: chatpostgres.New(s.pool)}),
		dixie.WithDependency(dixie.Dependency{Name: "postgresql", Check: s.pool.Ping, Required: true}),
	}, nil
}

// close comes after everything that uses the stores.
func (s *stores) close() {
	if s.pool != nil {
		s.pool.Close()
	}
}
