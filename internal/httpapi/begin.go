package httpapi

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// addressDigits is how many hexadecimal digits the address of a wallet has.
const addressDigits = 40

// internalHeaders carry meaning between components behind a gateway, as do those with an internal prefix. From a
// client they are claims that nobody has checked, so they end at the door. Keys are in canonical form.
func internalHeaders() []string {
	return []string{
		"X-Wallet-Address", "X-Conviction-Tier", "X-Conviction-Source", "X-Model-Pool",
		"X-Memory-Context", "X-Memory-Tokens", "X-Economic-Start-Ms", "X-Response-Cost-Micro-Usd",
		"X-Response-Model",
	}
}

// hasInternalPrefix catches whatever a client may think of about operators and agents.
func hasInternalPrefix(name string) bool {
	return strings.HasPrefix(name, "X-Operator-") || strings.HasPrefix(name, "X-Agent-")
}

// beginExchange opens the exchange: request id, client address, no header that only we may set.
func (a *API) beginExchange(next http.Handler) http.Handler {
	internal := internalHeaders()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{start: time.Now(), client: a.clientAddress(r), requestID: requestID(r)}
		for _, name := range internal {
			delete(r.Header, name)
		}
		for name := range r.Header {
			if hasInternalPrefix(name) {
				delete(r.Header, name)
			}
		}
		w.Header()["X-Request-Id"] = []string{x.requestID}
		ctx := context.WithValue(r.Context(), exchangeKey{}, x)
		next.ServeHTTP(newResponse(w, x), r.WithContext(ctx))
	})
}

// requestID takes the caller's id when it is harmless in a log and for whoever else is told, else makes one.
func requestID(r *http.Request) string {
	const longest = 128
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > longest {
		return uuid.NewString()
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return uuid.NewString()
		}
	}
	if isIdentity(id) {
		return uuid.NewString()
	}
	return id
}

// isIdentity tells whether an id is, or contains, the address of a wallet, a key, a ticket or a token.
func isIdentity(id string) bool {
	lower := strings.ToLower(id)
	if strings.Contains(lower, "dxk_") || strings.Contains(lower, "wst_") ||
		strings.Contains(lower, "eyj") && strings.Count(lower, ".") > 1 {
		return true
	}
	for rest, found := lower, true; found; {
		if _, rest, found = strings.Cut(rest, "0x"); len(rest) >= addressDigits && strings.Trim(rest[:addressDigits], "0123456789abcdef") == "" {
			return true
		}
	}
	return false
}

// clientAddress is the socket's address, or, behind trusted proxies, the rightmost hop of
// X-Forwarded-For that is not one of them: everything left of that hop is the client's own claim.
func (a *API) clientAddress(r *http.Request) netip.Addr {
	peer := socketAddress(r.RemoteAddr)
	if !a.isTrustedProxy(peer) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		hop, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		hop = hop.Unmap().WithZone("")
		if !a.isTrustedProxy(hop) {
			return hop
		}
		peer = hop
	}
	return peer
}

func (a *API) isTrustedProxy(addr netip.Addr) bool {
	if !addr.IsValid() {
		// A peer without an address came over a Unix socket: whoever says that there are proxies put one
		// in front of it.
		return len(a.cfg.TrustedProxies) > 0
	}
	for _, p := range a.cfg.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func socketAddress(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
