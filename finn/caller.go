package finn

import (
	"context"
	"crypto/sha256"
	"net/netip"

	"github.com/google/uuid"
)

const (
	maxToken     = 4096
	maxRequestID = 128
	maxWallet    = 64
)

// Caller is the person or service on whose behalf a call is made. Every field
// may be empty.
type Caller struct {
	// RequestID is the id of the request that led here, up to 128 printable
	// ASCII characters. Absent or unfit: each call gets one of its own.
	RequestID string
	// Wallet is the verified wallet address.
	Wallet string
	// Address is the caller's IP address. Finn allows five sockets per address.
	Address string
}

type callerKey struct{}

// ContextWithCaller returns a context whose calls to Finn name caller.
func ContextWithCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerFromContext returns the caller set by [ContextWithCaller], or the zero
// Caller.
func CallerFromContext(ctx context.Context) Caller {
	caller, _ := ctx.Value(callerKey{}).(Caller)
	return caller
}

// wireCaller is the caller as it may be written into headers: a value that no
// header can carry would fail the call, and the breaker would take the blame
// for a client's odd request id to be Finn's.
func wireCaller(ctx context.Context) Caller {
	caller := CallerFromContext(ctx)
	if !headerSafe(caller.RequestID, maxRequestID) {
		caller.RequestID = uuid.NewString()
	}
	if !headerSafe(caller.Wallet, maxWallet) {
		caller.Wallet = ""
	}
	return caller
}

func headerSafe(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// socketAddress is the address Finn counts a socket for. Work without a
// caller, such as a fleet task, gets an address of its session's own
// (RFC 4193, fd00::/8), since otherwise all of it would share the allowance of
// this process.
func socketAddress(caller Caller, sessionID string) string {
	if addr, err := netip.ParseAddr(caller.Address); err == nil {
		return addr.Unmap().WithZone("").String()
	}
	sum := sha256.Sum256([]byte(sessionID))
	var raw [16]byte
	raw[0] = 0xfd
	copy(raw[1:], sum[:])
	return netip.AddrFrom16(raw).String()
}
