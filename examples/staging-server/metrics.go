package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/metric"

	"dixie"
	"dixie/database"
	"dixie/internal/instruments"
	"dixie/redis"
	"dixie/telemetry"
)

const (
	metricsPath = "/metrics"
	// scrapeTimeout bounds one answer to Prometheus, and closing the listener for it.
	scrapeTimeout = 15 * time.Second
)

// observable is something that a meter asks at each collection.
type observable func(metric.Meter) (metric.Registration, error)

// measuring is what /metrics shows, and where.
type measuring struct {
	*telemetry.Metrics

	// own serves on an address of its own; nil without one.
	own   *http.Server
	ended chan struct{}
}

// measure begins to collect, from what backs the process and from others, and listens where the configuration says.
func measure(ctx context.Context, c config, b *backing, logger *slog.Logger, others ...observable) (*measuring, error) {
	m := &measuring{ended: make(chan struct{})}
	var err error
	if m.Metrics, err = telemetry.NewMetrics(telemetry.MetricsConfig{
		ServiceVersion: dixie.Version, Environment: string(c.environment),
	}); err != nil {
		return nil, err
	}
	meter := m.MeterProvider().Meter(instruments.Scope)
	for _, observe := range append(b.observables(), others...) {
		if _, err := observe(meter); err != nil {
			return nil, err
		}
	}
	if c.metricsListen == "" {
		return m, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.metricsListen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for metrics (DIXIE_METRICS_LISTEN): %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+metricsPath, m.Handler())
	m.own = &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: scrapeTimeout,
		IdleTimeout: keepAlive, MaxHeaderBytes: maxHeaderBytes, ErrorLog: complainTo(logger),
	}
	go func() {
		defer close(m.ended)
		if err := m.own.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.ErrorContext(ctx, "metrics are not served any more", "error", err.Error())
		}
	}()
	logger.InfoContext(ctx, "metrics", "address", listener.Addr().String(), "path", metricsPath)
	return m, nil
}

// close ends the listener and the collection.
func (m *measuring) close(logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), disconnectTimeout)
	defer cancel()
	var problems []error
	if m.own != nil {
		if err := m.own.Shutdown(ctx); err != nil {
			problems = append(problems, err, m.own.Close())
		}
		<-m.ended
	}
	if err := errors.Join(append(problems, m.Shutdown(ctx))...); err != nil {
		logger.WarnContext(ctx, "metrics were not closed in order", "error", err.Error())
	}
}

// observables are what backs the process.
func (b *backing) observables() []observable {
	var all []observable
	if b.pool != nil {
		all = append(all, func(m metric.Meter) (metric.Registration, error) { return database.Observe(m, b.pool) })
	}
	if b.redis != nil {
		all = append(all, func(m metric.Meter) (metric.Registration, error) { return redis.Observe(m, b.redis) })
	}
	if b.signals != nil {
		all = append(all, b.signals.Observe)
	}
	return all
}

// listen is host:port; a port alone is one on loopback.
func (r *reader) listen(name string) string {
	value := r.text(name)
	if value == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		host, port = "", value
	}
	if host == "" {
		host = loopback
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host != "localhost" && net.ParseIP(host) == nil {
		r.problemf("%s is %q, not host:port with an IP address or localhost, or a port", name, value)
		return ""
	}
	return net.JoinHostPort(host, port)
}

// metricsApart reports metrics that are to be served where the server itself listens.
func (r *reader) metricsApart(c *config) {
	host, port, err := net.SplitHostPort(c.metricsListen)
	if err != nil || port != strconv.Itoa(c.port) {
		return
	}
	if anyHost(c.host) || anyHost(host) || bareHost(c.host) == bareHost(host) {
		r.problemf("DIXIE_METRICS_LISTEN is where the server listens, by DIXIE_PORT=%d: give the metrics a port of their own", c.port)
	}
}

// anyHost says whether what listens there takes a port of all addresses.
func anyHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// bareHost is one spelling of a host. What is no IP address is localhost, or refused already.
func bareHost(host string) string {
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return loopback
}
