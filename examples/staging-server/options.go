package main

import (
	"context"
	"log/slog"

	"dixie"
	chatpostgres "dixie/chat/postgres"
	"dixie/finn"
	"dixie/fleet"
	fleetpostgres "dixie/fleet/postgres"
	"dixie/redis"
	reputationpostgres "dixie/reputation/postgres"
	"dixie/telemetry"
)

// options are the configuration and what backs the process, in dixie's words.
func options(c config, b *backing, tel *telemetry.Telemetry, logger *slog.Logger) ([]dixie.Option, error) {
	// In the environment 0 is none; for the options 0 is the default, and -1 none.
	none := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	auth := dixie.AuthConfig{TokenSecret: []byte(c.secret), AdminKey: c.adminKey, Origins: c.origins}
	rate := dixie.RateLimitConfig{PerMinute: int(none(int64(c.ratePerMinute))), TrustedProxies: c.trustedProxies}
	tiers := dixie.GovernanceConfig{TierTTL: c.tierTTL, BudgetMicroUSD: none(c.budget)}
	if c.tierTTL == 0 {
		tiers.TierTTL = -1
	}
	chat, tasks := dixie.ChatConfig{}, dixie.FleetConfig{}
	opts := []dixie.Option{
		dixie.WithEnvironment(c.environment),
		dixie.WithLogger(logger),
		dixie.WithTracing(dixie.TracingConfig{Provider: tel.TracerProvider(), Policy: c.tracePolicy}),
		dixie.WithFinn(finn.Config{URL: c.finnURL, WebSocketURL: c.finnSocketURL, Token: c.finnToken}),
	}
	var publish func(context.Context, fleet.Event) error
	if b.signals != nil {
		publish = func(ctx context.Context, e fleet.Event) error {
			return b.signals.Fleet(ctx, fleetpostgres.MessageID(ctx), e)
		}
		chat.OnInteraction, tasks.OnEvent = b.signals.Interaction, b.signals.OfferFleet
		opts = append(opts, dixie.WithDependency(dixie.Dependency{Name: "nats", Check: b.signals.Check}))
	}
	if b.redis != nil {
		auth.Nonces, auth.Tickets = redis.NewNonces(b.redis), redis.NewTickets(b.redis)
		tiers.TierCache = redis.NewTierCache(b.redis)
		chat.Lock, chat.Relay = redis.NewTurnLock(b.redis, logger), b.relay
		if c.sharedLimits {
			rate.Limiter = redis.NewRateLimiter(b.redis)
		}
		opts = append(opts, dixie.WithDependency(dixie.Dependency{Name: "redis", Check: func(ctx context.Context) error {
			return b.redis.Ping(ctx).Err()
		}}))
	}
	if b.pool != nil {
		store, err := fleetpostgres.New(fleetpostgres.Config{Pool: b.pool, Logger: logger, Retention: c.taskRetention, Publish: publish})
		if err != nil {
			return nil, err
		}
		tasks.Store, chat.Sessions = store, chatpostgres.New(b.pool)
		opts = append(opts,
			dixie.WithReputation(dixie.ReputationConfig{Store: reputationpostgres.New(b.pool)}),
			dixie.WithDependency(dixie.Dependency{Name: "postgresql", Check: b.pool.Ping, Required: true}))
	}
	switch {
	case b.allowlist != nil:
		opts = append(opts, dixie.WithAllowlist(b.allowlist))
	case c.allowlistPath != "":
		opts = append(opts, dixie.WithAllowlistFile(c.allowlistPath, c.allowlistPoll))
	}
	return append(opts, dixie.WithAuth(auth), dixie.WithRateLimit(rate), dixie.WithGovernance(tiers),
		dixie.WithChat(chat), dixie.WithFleet(tasks)), nil
}
