// Command staging-server is dixie as a server, configured by the environment.
//
//	staging-server [serve]                    run the server; without any variable set: development, on loopback
//	staging-server migrate up|down N|status   bring the database of DATABASE_URL to this version, or back
//	staging-server reputation verify|rebuild  hold what is stored to the log of events, or compute it anew
//	staging-server healthcheck                exit 0 when the server on this machine is ready, for images without a shell
//	staging-server config                     list the environment variables, and what they amount to without secrets
//	staging-server version                    the version of dixie, and of the build
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"dixie"
)

const (
	headerTimeout      = 10 * time.Second
	readTimeout        = 30 * time.Second
	keepAlive          = 2 * time.Minute
	maxHeaderBytes     = 64 << 10
	drainTimeout       = 15 * time.Second
	healthcheckTimeout = 3 * time.Second
)

const usage = `usage: staging-server [command]

  serve                     run the server (the default); without any variable set: development, on loopback
  migrate up|down N|status  bring the database of DATABASE_URL to this version, or back
  reputation verify|rebuild hold what is stored to the log of events, or compute it anew
  healthcheck               exit 0 when the server on this machine is ready
  config                    list the environment variables and what they amount to; exit 1 when they are not usable
  version                   the version of dixie, and of the build
`

// build is which build this is: the linker sets it.
var build = "from source" //nolint:gochecknoglobals // The linker sets no constant.

func main() {
	command := "serve"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	var err error
	switch command {
	case "serve", "healthcheck", "config", "version":
		if len(os.Args) > 2 {
			fmt.Fprintf(os.Stderr, "staging-server: %s takes no argument, not %q\n%s", command, os.Args[2], usage)
			os.Exit(1)
		}
	}
	switch command {
	case "serve":
		if !serve(environment, os.Stdout, os.Stderr) {
			os.Exit(1)
		}
	case "migrate":
		err = runMigrations(environment, os.Args[2:], os.Stdout)
	case "reputation":
		err = maintainReputation(environment, os.Args[2:], os.Stdout)
	case "healthcheck":
		err = healthcheck(environment)
	case "config":
		err = showConfig(environment, os.Stdout)
	case "version":
		_, err = fmt.Fprintln(os.Stdout, dixie.Version, build)
	case "help", "-h", "-help", "--help":
		_, _ = fmt.Fprint(os.Stdout, usage)
	default:
		err = fmt.Errorf("unknown command %q\n%s", command, usage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "staging-server:", err)
		os.Exit(1)
	}
}

// serve runs the server and tells whether it ended as it was asked to. What kept it from that is in the log, where
// whoever collects the log looks for it.
func serve(lookup func(string) (string, bool), logs, people io.Writer) bool {
	c, err := readConfig(lookup)
	logger := slog.New(dixie.LogHandler(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: c.level})))
	for _, w := range c.warnings {
		logger.Warn("configuration", "problem", w)
	}
	if err != nil {
		for _, problem := range each(err) {
			logger.Error("the configuration is not usable", "problem", problem.Error())
		}
		return false
	}
	if err := run(c, logger, people); err != nil {
		logger.Error("ended by an error", "error", err.Error())
		return false
	}
	logger.Info("stopped")
	return true
}

// each is the errors that were joined.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// run serves until SIGTERM or SIGINT. During the start the signal is enough, too: what the start waits for is let go. A
// second signal ends the process at once.
func run(c config, logger *slog.Logger, people io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // From then on a signal has its usual effect.
	err := serveUntil(ctx, c, logger, people)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		logger.InfoContext(ctx, "told to stop before it was ready", "error", err.Error())
		return nil
	}
	return err
}

// serveUntil serves until ctx is done, then drains. It listens when the database is up to date, so that nobody waits at an
// open door: until then connections are refused.
//
//nolint:contextcheck // What it opens outlives ctx.
func serveUntil(ctx context.Context, c config, logger *slog.Logger, people io.Writer) error {
	// A port that is taken is found out before the database is changed.
	early, err := c.listen(ctx)
	if err != nil {
		return err
	}
	if err := early.Close(); err != nil {
		return fmt.Errorf("let the port go: %w", err)
	}
	tel, err := startTelemetry(ctx, c, logger)
	if err != nil {
		return err
	}
	b, err := connect(ctx, c, logger)
	if err != nil {
		flush(tel, logger)
		return err
	}
	// Spans first: they do not need what is closed after them, and have a limit of their own.
	defer func() {
		flush(tel, logger)
		b.close(logger)
	}()
	listener, err := c.listen(ctx)
	if err != nil {
		return err
	}
	c.listensOn(listener.Addr())
	opts, err := options(c, b, tel, logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	metrics, err := measure(context.Background(), c, b, logger, tel.Observe)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer metrics.close(logger)
	opts = append(opts, dixie.WithMetrics(metrics.MeterProvider()), dixie.WithMetricsPage(metrics.Handler()))
	h, err := dixie.New(opts...)
	if err != nil {
		return errors.Join(withRemedy(err), listener.Close())
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: keepAlive,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: complainTo(logger),
	}
	logger.InfoContext(ctx, "listening", "address", listener.Addr().String(), "environment", string(c.environment), "version", dixie.Version, "build", build)
	greet(people, c, h.FinnURL())

	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		return errors.Join(fmt.Errorf("serve: %w", err), h.Shutdown(ctx))
	case <-ctx.Done():
	}
	logger.InfoContext(ctx, "shutting down", "within", drainTimeout.String())
	return drain(logger, server, h)
}

// listen takes the address and the port.
func (c *config) listen(ctx context.Context) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(c.host, strconv.Itoa(c.port)))
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", withListenRemedy(err))
	}
	return listener, nil
}

// drain stops listening and lets requests, streams and sockets end, at most for the drain timeout.
func drain(logger *slog.Logger, server *http.Server, h *dixie.Handler) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var wg sync.WaitGroup
	var stopped, ended error
	wg.Go(func() { stopped = server.Shutdown(ctx) })
	wg.Go(func() { ended = h.Shutdown(ctx) })
	wg.Wait()
	if err := errors.Join(stopped, ended); err != nil {
		// What did not end in time is cut off; stopping is what was asked for.
		logger.Warn("cut off at the end of the drain", "error", err.Error())
		_ = server.Close()
	}
	return nil
}

// greet tells a newcomer what is in use and what to try. In development and test only: it shows the admin
// key.
func greet(out io.Writer, c config, finnURL string) {
	if !c.relaxed() {
		return
	}
	backend := finnURL
	if c.finnURL == "" {
		backend += " (in this process; it repeats what it is told)"
	}
	base := c.baseURL()
	login := "go run ./examples/siwe-login"
	if base != dixie.DefaultOrigin {
		login += " -url " + base
	}
	if !slices.Contains(c.origins, base) {
		login += " -origin " + c.origins[0]
	}
	_, _ = fmt.Fprintf(out, `
dixie %s, %[7]s, on %[2]s
  Finn       %s
  Allowlist  %s
  Stores     %[8]s
  Admin key  %[5]s

Try, in another terminal:
  TOKEN=$(%[6]s)
  curl -s %[2]s/api/chat -H "Authorization: Bearer $TOKEN" -d '{"prompt":"hello"}'
  curl -sN %[2]s/api/chat -H "Authorization: Bearer $TOKEN" -H 'Accept: text/event-stream' -d '{"prompt":"tell me more"}'
  curl -s %[2]s/api/fleet/spawn -H "Authorization: Bearer $TOKEN" -d '{"description":"Fix the flaky test","taskType":"bug_fix","repository":"acme/app"}'
  curl -s %[2]s/api/fleet/status -H "Authorization: Bearer $TOKEN"
  curl -s %[2]s/api/governance/admission -H "Authorization: Bearer $TOKEN" -d '{}'
  curl -s %[2]s/api/reputation/oracle-001/events -H "Authorization: Bearer $TOKEN" -d '{"type":"quality_signal","score":0.8}'
  curl -s %[2]s/api/reputation/oracle-001 -H "Authorization: Bearer $TOKEN"
  curl -s %[2]s/api/health

Stop with Ctrl-C.

`, dixie.Version, base, backend, allowlistInUse(c), c.adminKey, login, c.environment, storesInUse(c))
}

// allowlistInUse says who is admitted, and where that can be changed.
func allowlistInUse(c config) string {
	switch {
	case c.allowlistPath == "" && c.databaseURL != "":
		return "every wallet that signs in is admitted; without DIXIE_ALLOWLIST_PATH the table in PostgreSQL is not used"
	case c.allowlistPath == "":
		return "every wallet that signs in is admitted"
	case c.databaseURL != "":
		return "the table allowlist_entries in PostgreSQL; " + c.allowlistPath + " was read at the start"
	default:
		return c.allowlistPath
	}
}

// storesInUse says what survives a restart, what replicas share and where signals go.
func storesInUse(c config) string {
	inUse := "in memory: nothing survives a restart"
	if c.databaseURL != "" {
		inUse = "reputation, tasks and the owners of chat sessions in PostgreSQL"
	}
	if c.redisURL != "" {
		shared := "nonces, tickets, tiers and turns"
		if c.sharedLimits {
			shared = "nonces, tickets, rate limits, tiers and turns"
		}
		inUse += "; " + shared + " in Redis"
	}
	if c.natsURL != "" {
		inUse += "; signals to NATS"
	}
	return inUse
}

// healthcheck asks the server of this configuration whether it is ready.
func healthcheck(lookup func(string) (string, bool)) error {
	r := &reader{lookup: lookup}
	host := r.text("DIXIE_HOST")
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	port := r.integer("DIXIE_PORT", defaultPort, highestPort)
	if err := errors.Join(r.problems...); err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthcheckTimeout)
	defer cancel()
	target := "http://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/readyz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	// Not by way of a proxy of the environment.
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("healthcheck: not ready: %s", response.Status)
	}
	return nil
}
