//go:build !linux

package testserver

import (
	"context"
	"fmt"
	"net"
)

// FreePort is a port of loopback that was free a moment ago.
func FreePort() (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert,errcheck // A TCP listener has such an address.
	if err := listener.Close(); err != nil {
		return 0, fmt.Errorf("find a port: %w", err)
	}
	return port, nil
}
