package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"dixie"
	"dixie/telemetry"
)

// telemetryConfig leaves the way to the collector to the variables of OpenTelemetry.
func telemetryConfig(c config) telemetry.Config {
	cfg := telemetry.Config{ServiceVersion: dixie.Version, Policy: c.tracePolicy, Getenv: c.getenv}
	if c.known() {
		cfg.Environment = string(c.environment)
	}
	return cfg
}

// startTelemetry comes before everything that may record a span. Without an endpoint it is a no-op. The collector
// may be away.
func startTelemetry(ctx context.Context, c config, logger *slog.Logger) (*telemetry.Telemetry, error) {
	cfg := telemetryConfig(c)
	cfg.Logger = logger
	tel, err := telemetry.Start(ctx, cfg)
	if errors.Is(err, telemetry.ErrConfig) {
		return nil, fmt.Errorf("the OTEL_ variables are not usable: %w", err)
	}
	return tel, err
}

// flush sends the last spans, in five seconds at most. A collector that is away does not make the stop a failure.
func flush(tel *telemetry.Telemetry, logger *slog.Logger) {
	ctx := context.Background()
	if err := tel.Shutdown(ctx); err != nil {
		logger.WarnContext(ctx, "spans were lost", "error", err.Error())
	}
}
