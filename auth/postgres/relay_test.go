package postgres_test

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
)

// relay passes connections on to the database, until it is told to hold those that there are.
type relay struct {
	url string
	end func()

	mu   sync.Mutex
	gate chan struct{} // GUARDED_BY(mu); closed: the connections made so far pass nothing on
}

func newRelay(t *testing.T, database string) *relay {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := u.Host
	u.Host = listener.Addr().String()
	r := &relay{url: u.String(), gate: make(chan struct{})}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r.end = func() {
		cancel()
		_ = listener.Close()
		wg.Wait()
	}
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			backend, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			r.mu.Lock()
			gate := r.gate
			r.mu.Unlock()
			wg.Go(func() { pass(ctx, gate, client, backend) })
			wg.Go(func() { pass(ctx, gate, backend, client) })
		}
	})
	return r
}

func pass(ctx context.Context, gate <-chan struct{}, from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	stop := context.AfterFunc(ctx, func() { _, _ = from.Close(), to.Close() })
	defer stop()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-gate:
			<-ctx.Done() // Nothing is passed on, nor that an end was closed.
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (r *relay) silence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.gate)
	r.gate = make(chan struct{})
}
