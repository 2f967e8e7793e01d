package telemetry

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// Guarded is [Metrics.Handler] for whoever has the key: 401 without a credential, 403 for a wrong one and while key is
// empty, with the body of dixie's errors. The key comes as "Authorization: Bearer KEY", and is compared in constant
// time.
func (m *Metrics) Guarded(key string) http.Handler {
	want := sha256.Sum256([]byte(key))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := credential(r)
		got := sha256.Sum256([]byte(given))
		switch {
		case given == "" && key != "":
			refuse(w, http.StatusUnauthorized, "unauthorized", "Authentication required")
		case key == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1:
			refuse(w, http.StatusForbidden, "forbidden", "Not authorized")
		default:
			m.scrape.ServeHTTP(w, r)
		}
	})
}

// credential is that of the Authorization header, with or without the word Bearer.
func credential(r *http.Request) string {
	const scheme = "bearer "
	h := r.Header.Get("Authorization")
	if len(h) >= len(scheme) && strings.EqualFold(h[:len(scheme)], scheme) {
		h = h[len(scheme):]
	}
	return strings.TrimSpace(h)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	id := uuid.NewString()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Request-Id", id)
	w.WriteHeader(status)
	// None of the words needs an escape.
	_, _ = fmt.Fprintf(w, `{"error":%q,"message":%q,"request_id":%q}`+"\n", code, message, id)
}
