package testserver_test

import (
	"net"
	"strconv"
	"testing"

	"dixie/internal/testserver"
)

// TestFreePort: nobody else is given the port, and a server may listen there again and again.
func TestFreePort(t *testing.T) {
	t.Parallel()
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1", ""} {
		for range 2 {
			listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
			if err != nil {
				t.Fatal(err)
			}
			_ = listener.Close()
		}
	}
	if another, err := testserver.FreePort(); err != nil || another == port {
		t.Errorf("port %d again, %v", another, err)
	}
}
