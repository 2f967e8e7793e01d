// Command embedded is the smallest host service: dixie beside a route of its own.
package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"dixie"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := serve(ctx)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// serve serves until ctx is done, and then lets running answers end for ten seconds.
func serve(ctx context.Context) error {
	h, err := dixie.New(dixie.WithEnvironment(dixie.Development)) //nolint:contextcheck // Shutdown ends it, not ctx.
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello\n")) })
	server := &http.Server{Addr: "127.0.0.1:3001", Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	log.Println("serving on http://localhost:3001")
	select {
	case <-ctx.Done():
	case err = <-served: // The address is taken, say.
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	// Each waits for what the other does not see: the Handler for streams, sockets and tasks, the server until the
	// answers are sent.
	sent := make(chan error, 1)
	go func() { sent <- server.Shutdown(drain) }()
	return errors.Join(err, h.Shutdown(drain), <-sent)
}
