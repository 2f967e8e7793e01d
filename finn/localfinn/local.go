package localfinn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Local is a [Server] that listens on a loopback port of its own.
type Local struct {
	server *Server
	http   *http.Server
	url    string
	served chan error
}

// Start listens on a free port of 127.0.0.1 and serves until [Local.Close].
func Start(cfg Config) (*Local, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("localfinn: listen: %w", err)
	}
	l := &Local{
		server: New(cfg),
		url:    "http://" + listener.Addr().String(),
		served: make(chan error, 1),
	}
	l.http = &http.Server{Handler: l.server, ReadHeaderTimeout: 10 * time.Second}
	go func() { l.served <- l.http.Serve(listener) }()
	return l, nil
}

// URL returns the base URL, such as http://127.0.0.1:40123.
func (l *Local) URL() string { return l.url }

// Close aborts running turns, closes sockets and the port, and waits until
// everything has ended, or until ctx does: then it cuts the connections. It
// is idempotent.
func (l *Local) Close(ctx context.Context) error {
	err := l.server.Close(ctx)
	// The turns are over, so answers are out in no time. What Shutdown may still
	// wait for is a connection on which nobody ever sent anything.
	flush, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if l.http.Shutdown(flush) != nil {
		err = errors.Join(err, l.http.Close())
	}
	if served, ok := <-l.served; ok {
		close(l.served)
		if !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
	}
	if err != nil {
		return fmt.Errorf("localfinn: close: %w", err)
	}
	return nil
}
