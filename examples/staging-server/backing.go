package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	goredis "github.com/redis/go-redis/v9"

	allowlistpostgres "dixie/auth/postgres"
	"dixie/database"
	"dixie/migrate"
	"dixie/redis"
	"dixie/signals"
)

const (
	// migrationTimeout bounds the start: a migration that another replica runs may take a while.
	migrationTimeout = 10 * time.Minute
	// patience is how long the start is silent while the database is being waited for.
	patience = time.Second
	// publishTimeout bounds the end: signals that NATS does not take in this time are lost.
	publishTimeout = 5 * time.Second
	// disconnectTimeout is for saying goodbye to the servers.
	disconnectTimeout = 3 * time.Second
)

// backing is what the process keeps its state in: each is nil without its variable.
type backing struct {
	pool      *pgxpool.Pool
	allowlist *allowlistpostgres.Allowlist
	redis     *goredis.Client
	relay     *redis.Relay
	signals   *signals.Publisher
}

// connect brings the database to the schema that this version needs and opens what is configured. The
// database must be there; Redis and NATS may come later.
func connect(ctx context.Context, c config, logger *slog.Logger) (*backing, error) {
	b := &backing{}
	// Redis first: what is wrong with its URL is told before the database is changed.
	for _, open := range []func(context.Context, config, *slog.Logger) error{b.openRedis, b.openDatabase, b.openSignals} {
		if err := open(ctx, c, logger); err != nil {
			b.close(logger) //nolint:contextcheck // Closing has a limit of its own.
			return nil, err
		}
	}
	return b, nil
}

func (b *backing) openDatabase(ctx context.Context, c config, logger *slog.Logger) error {
	if c.databaseURL == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, migrationTimeout)
	defer cancel()
	m, err := migrate.New(c.databaseURL, migrate.Config{Logger: logger})
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	waiting := time.AfterFunc(patience, func() {
		logger.InfoContext(ctx, "waiting for the database of DATABASE_URL: for its answer, for its migrations, or for another process that migrates",
			"lock_timeout", migrate.DefaultLockTimeout.String())
	})
	_, err = m.Up(ctx)
	waiting.Stop()
	if err != nil {
		return fmt.Errorf("the database of DATABASE_URL cannot be brought up to date: %w", withRemedy(err))
	}
	b.pool, err = database.Open(context.WithoutCancel(ctx), database.Config{URL: c.databaseURL, Size: c.poolSize, Application: "dixie-bff"})
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	if c.allowlistPath == "" {
		return nil
	}
	b.allowlist, err = allowlistpostgres.Open(ctx, allowlistpostgres.Config{Pool: b.pool, SeedFile: c.allowlistPath, Logger: logger})
	if err != nil {
		return fmt.Errorf("the allowlist of DIXIE_ALLOWLIST_PATH: %w", withRemedy(err))
	}
	return nil
}

func (b *backing) openRedis(ctx context.Context, c config, logger *slog.Logger) error {
	if c.redisURL == "" {
		return nil
	}
	goredis.SetLogger(redis.NewLibraryLog(logger))
	var err error
	if b.redis, err = redis.Open(redis.Config{URL: c.redisURL, Logger: logger}); err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	// Before the relay, which goes on trying without an end, and knows of no variable.
	if err := b.redis.Ping(ctx).Err(); err != nil {
		logRedis(ctx, logger, err)
	}
	b.relay = redis.NewRelay(b.redis, logger)
	return nil
}

func (b *backing) openSignals(_ context.Context, c config, logger *slog.Logger) error {
	if c.natsURL == "" {
		return nil
	}
	var err error
	if b.signals, err = signals.Connect(signals.Config{URL: c.natsURL, Logger: logger}); err != nil {
		return fmt.Errorf("NATS_URL: %w", err)
	}
	return nil
}

// close comes after everything that uses it: what is buffered is published, and then all is closed. What a
// server that hangs does not let go in time ends with the process.
func (b *backing) close(logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
	defer cancel()
	var problems []error
	if b.signals != nil {
		problems = append(problems, b.signals.Close(ctx))
	}
	closed := make(chan error, 1)
	go func() { closed <- b.disconnect() }()
	select {
	case err := <-closed:
		problems = append(problems, err)
	case <-time.After(disconnectTimeout):
		problems = append(problems, errors.New("connections are still open"))
	}
	if err := errors.Join(problems...); err != nil {
		logger.WarnContext(ctx, "not everything was closed in order", "error", err.Error())
	}
}

func (b *backing) disconnect() error {
	var problems []error
	if b.relay != nil {
		problems = append(problems, b.relay.Close())
	}
	if b.redis != nil {
		problems = append(problems, b.redis.Close())
	}
	if b.allowlist != nil {
		problems = append(problems, b.allowlist.Close())
	}
	if b.pool != nil {
		b.pool.Close()
	}
	return errors.Join(problems...)
}
