package dixie

import (
	"fmt"
	"reflect" //nolint:depguard // Nothing else tells a nil pointer within an interface from a value.
)

// nilPointers reports what options hold that is there and is nil, such as a store whose constructor returned an
// error that nobody read. Used, it would panic, here or at the first request.
func (s *settings) nilPointers() []error {
	var problems []error
	for _, given := range []struct {
		option, field string
		value         any
	}{
		{"WithAllowlist", "the allowlist", s.allowlist},
		{"WithAuth", "Nonces", s.auth.Nonces},
		{"WithAuth", "Tickets", s.auth.Tickets},
		{"WithRateLimit", "Limiter", s.rate.Limiter},
		{"WithGovernance", "Stakes", s.governance.Stakes},
		{"WithGovernance", "TierCache", s.governance.TierCache},
		{"WithFleet", "Store", s.fleet.Store},
		{"WithFleet", "Runner", s.fleet.Runner},
		{"WithReputation", "Store", s.reputation.Store},
		{"WithMetrics", "the provider", s.metrics},
		{"WithMetricsPage", "the page", s.metricsPage},
		{"WithChat", "Sessions", s.chat.Sessions},
		{"WithChat", "Lock", s.chat.Lock},
		{"WithChat", "Relay", s.chat.Relay},
	} {
		if isNil(given.value) {
			problems = append(problems, fmt.Errorf("%s: %s is a nil %T: did its constructor fail?", given.option, given.field, given.value))
		}
	}
	return problems
}

// isNil says whether an interface holds a nil pointer or function. One that holds nothing is an option not used.
func isNil(v any) bool {
	held := reflect.ValueOf(v)
	return (held.Kind() == reflect.Pointer || held.Kind() == reflect.Func) && held.IsNil()
}
