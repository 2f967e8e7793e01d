// Command local-finn runs a small Finn, the AI backend that dixie stands in
// front of: for development, for trying dixie as a whole, and as the backend
// of a staging stack.
//
// # Use
//
//	go run ./examples/local-finn
//
// It listens on 127.0.0.1:3000 and repeats what it is told. Then, for instance:
//
//	curl -s -X POST localhost:3000/api/sessions
//	curl -s localhost:3000/api/sessions/demo/message -d '{"text":"hello [[tool search]]"}'
//
// Directives in a prompt: [[sleep 5s]], [[tool NAME]], [[words N]], [[fail]].
//
// # Settings
//
// A flag wins over its environment variable.
//
//	-port        PORT             port, 3000
//	-host        HOST             address to listen on; 127.0.0.1 without a token,
//	                              all addresses with one
//	-token       FINN_AUTH_TOKEN  what clients must present; none: open
//	             FINN_AUTH_TOKEN_FILE
//	                              a file that holds it instead; both set is refused
//	-word-delay  FINN_WORD_DELAY  pause before each word, such as 50ms; none
//	-model       OPENAI_MODEL     answer with this model instead of repeating
//	-base-url    OPENAI_BASE_URL  OpenAI-compatible API, https://api.openai.com/v1
//	             OPENAI_API_KEY   its key (no flag: arguments are visible to all)
//	             OTEL_EXPORTER_OTLP_ENDPOINT
//	                              collector that spans go to, in the traces of the
//	                              clients, as the service local-finn; none: no spans
//	-healthcheck                  ask a running local-finn for its health, and exit
//	                              with 0 if it is well: for containers without a shell
//
// With a local model, for instance:
//
//	OPENAI_BASE_URL=http://127.0.0.1:11434/v1 OPENAI_MODEL=llama3.2 go run ./examples/local-finn
//
// SIGINT and SIGTERM stop it: no new prompts, ten seconds for running turns,
// which are aborted then, and exit status 0. (go run does not pass SIGTERM on;
// build the program for that.)
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"dixie/finn/localfinn"
	"dixie/finn/localfinn/openairesponder"
	"dixie/spansanitizer"
	"dixie/telemetry"
)

const (
	drainTime  = 10 * time.Second
	probeLimit = 3 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stderr, nil)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "local-finn:", err)
		os.Exit(1)
	}
}

// run is the program. listening, unless nil, is told the address once the
// server accepts connections.
func run(
	ctx context.Context, args []string, getenv func(string) string, out io.Writer, listening func(address string),
) error {
	s, err := parseSettings(args, getenv, out)
	if err != nil {
		return err
	}
	if s.healthcheck {
		return probe(ctx, s)
	}
	cfg := localfinn.Config{
		Token:     s.token,
		WordDelay: s.wordDelay,
		Logger:    slog.New(slog.NewJSONHandler(out, nil)),
	}
	if s.model != "" {
		responder, err := openairesponder.New(openairesponder.Config{BaseURL: s.baseURL, APIKey: s.apiKey, Model: s.model})
		if err != nil {
			return err
		}
		cfg.Responder = responder
	}
	tel, err := telemetry.Start(ctx, telemetry.Config{
		Endpoint: getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), ServiceName: serviceName, Logger: cfg.Logger,
	})
	if err != nil {
		return err
	}
	defer func() {
		if err := tel.Shutdown(context.WithoutCancel(ctx)); err != nil {
			cfg.Logger.WarnContext(ctx, "spans were lost", "error", err.Error())
		}
	}()
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", net.JoinHostPort(s.host, s.port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	_, _ = fmt.Fprint(out, s.greeting(listener.Addr().String()))
	return serve(ctx, localfinn.New(cfg), tel.Tracer(), listener, listening)
}

func serve(
	ctx context.Context, finn *localfinn.Server, tracer spansanitizer.Tracer, listener net.Listener, listening func(string),
) error {
	server := &http.Server{
		Handler:           traced(finn, tracer),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if listening != nil {
		listening(listener.Addr().String())
	}
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	// The port is closed first; sockets, which Shutdown does not know, and the
	// turns of both kinds are the handler's to end.
	closed := make(chan error, 1)
	go func() { closed <- server.Shutdown(drain) }()
	err = errors.Join(err, finn.Shutdown(drain))
	if <-closed != nil {
		err = errors.Join(err, server.Close())
	}
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// probe asks the local-finn that runs with the same settings.
func probe(ctx context.Context, s settings) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	host := s.host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	target := "http://" + net.JoinHostPort(host, s.port) + "/healthz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	response, err := (&http.Client{}).Do(request)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("health: status %d", response.StatusCode)
	}
	return nil
}
