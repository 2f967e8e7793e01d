package testserver

import (
	"fmt"
	"syscall"
)

// FreePort is a port of loopback for a server that is started, and perhaps started again. This process keeps it to its
// own end by a socket that is bound and listens to nothing, so that no other one gets the port while the server is down.
func FreePort() (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("find a port: %w", err)
	}
	// A server that listens has this set as well, and may then bind beside it (socket(7), SO_REUSEADDR).
	err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	var address syscall.Sockaddr
	if err == nil {
		address, err = syscall.Getsockname(fd)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return 0, fmt.Errorf("find a port: %w", err)
	}
	return address.(*syscall.SockaddrInet4).Port, nil //nolint:forcetypeassert,errcheck // A socket of that family has such an address.
}
