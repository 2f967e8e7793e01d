package spansanitizer

import "strings"

// maxNameLength bounds every text that leaves as it is, in bytes.
const maxNameLength = 64

func isMethod(s string) bool {
	switch s {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE":
		return true
	default:
		return false
	}
}

// isRoute knows the templates of dixie's routes. A path that a client sent is none of them, unless the
// route has no parameter.
func isRoute(s string) bool {
	switch s {
	case "unmatched", "/", "/{$}", "/livez", "/readyz", "/metrics",
		"/api/openapi.yaml", "/api/health", "/api/health/governance",
		"/api/auth/nonce", "/api/auth/siwe", "/api/auth/verify",
		"/api/admin/allowlist", "/api/admin/allowlist/{entry}",
		"/api/chat", "/api/sessions", "/api/sessions/{sessionId}", "/api/ws/ticket", "/ws/chat/{sessionId}",
		"/api/governance/admission",
		"/api/fleet/spawn", "/api/fleet/status", "/api/fleet/tasks/{taskId}",
		"/api/fleet/tasks/{taskId}/stop", "/api/fleet/tasks/{taskId}/logs",
		"/api/reputation/query", "/api/reputation/population", "/api/reputation/{nftId}",
		"/api/reputation/{nftId}/cohorts", "/api/reputation/{nftId}/events":
		return true
	default:
		return false
	}
}

// isAuthType knows the kinds of credential, and the words for a token that was refused.
func isAuthType(s string) bool {
	switch s {
	case "jwt", "api_key", "admin", "ticket", "none", Other,
		"expired", "invalid_claims", "invalid_signature", "malformed":
		return true
	default:
		return false
	}
}

func isTier(s string) bool {
	switch s {
	case "observer", "participant", "builder", "architect", "sovereign", "unknown":
		return true
	default:
		return false
	}
}

func isCircuitState(s string) bool { return s == "closed" || s == "open" || s == "half-open" }

func isTaskType(s string) bool {
	switch s {
	case "bug_fix", "feature", "refactor", "review", "docs":
		return true
	default:
		return false
	}
}

func isResourceType(s string) bool { return s == "fleet_task" }

func isDecision(s string) bool { return s == "admit" || s == "deny" }

func isDenialReason(s string) bool {
	switch s {
	case "tier_not_permitted", "tier_limit_exceeded", "budget_exceeded":
		return true
	default:
		return false
	}
}

// isPlainName accepts a word of a configuration: letters, digits and a few marks, and nothing that looks
// like a key or an address.
func isPlainName(s string) bool {
	return isMadeOf(s, "._:/+-") && !looksSensitive(s)
}

// isTemplate accepts a route template of a configuration.
func isTemplate(s string) bool {
	return strings.HasPrefix(s, "/") && isMadeOf(s, "/_{}.*-") && !looksSensitive(s)
}

// isMadeOf tells whether s is short, not empty, and of letters, digits and the marks only.
func isMadeOf(s, marks string) bool {
	if s == "" || len(s) > maxNameLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && !isDigit(c) && strings.IndexByte(marks, c) < 0 {
			return false
		}
	}
	return true
}

// The longest rows that a name may have.
const (
	maxDigits = 8
	maxHex    = 16
	maxRun    = 32
)

// looksSensitive tells whether a name could be, or contain, an address, a key, a token or a number that
// belongs to somebody.
func looksSensitive(s string) bool {
	lower := strings.ToLower(s)
	for _, mark := range []string{"@", "0x", "dxk_", "wst_", "eyj"} {
		if strings.Contains(lower, mark) {
			return true
		}
	}
	digits, hexadecimals, run := 0, 0, 0
	for i := range len(lower) {
		c := lower[i]
		digits, hexadecimals, run = count(digits, isDigit(c)), count(hexadecimals, isDigit(c) || c >= 'a' && c <= 'f'),
			count(run, isDigit(c) || isLetter(c))
		if digits > maxDigits || hexadecimals > maxHex || run > maxRun {
			return true
		}
	}
	return false
}

// count is the length of a row after one more character.
func count(n int, in bool) int {
	if !in {
		return 0
	}
	return n + 1
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
