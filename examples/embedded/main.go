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
	h, err := dixie.New(dixie.WithEnvironment(dixie.Development))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello\n")) })
	server := &http.Server{Addr: "127.0.0.1:3001", Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { _ = server.Shutdown(context.Background()) })
	log.Println("serving on http://localhost:3001")
	served := server.ListenAndServe()
	drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.Shutdown(drain); err != nil {
		log.Println(err)
	}
	if !errors.Is(served, http.ErrServerClosed) {
		log.Fatal(served) //nolint:gocritic // Everything is closed already.
	}
}
