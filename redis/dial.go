package redis

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// keepAlive finds a peer that has gone silently before a load balancer drops an idle connection.
const keepAlive = 30 * time.Second

// dialer makes connections. A connection that cannot be made is handed out as one whose first use fails
// with the reason: told of the failure itself, the pool of go-redis prints it to standard error, and after
// as many failures as it has connections it no longer dials when asked but once a second in a goroutine
// that outlives the client. Failing fast and probing is the breaker's part.
func dialer(config *tls.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	plain := &net.Dialer{KeepAlive: keepAlive}
	dial := plain.DialContext
	if config != nil {
		dial = (&tls.Dialer{NetDialer: plain, Config: config}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return noConn{reason: err}, nil //nolint:nilerr // Its first use returns it.
		}
		return conn, nil
	}
}

// noConn is a connection that could not be made.
type noConn struct{ reason error }

var _ net.Conn = noConn{}

func (n noConn) Read([]byte) (int, error)       { return 0, n.reason }
func (n noConn) Write([]byte) (int, error)      { return 0, n.reason }
func (noConn) Close() error                     { return nil }
func (noConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (noConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (noConn) SetDeadline(time.Time) error      { return nil }
func (noConn) SetReadDeadline(time.Time) error  { return nil }
func (noConn) SetWriteDeadline(time.Time) error { return nil }
