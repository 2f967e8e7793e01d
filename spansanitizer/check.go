package spansanitizer

import (
	"math"

	"go.opentelemetry.io/otel/attribute"
)

// check says what may leave of a value, and whether that is anything. A value of the wrong type and an
// empty text are left out: what is not known is not said.
type check func(p *Policy, v attribute.Value) (attribute.Value, bool)

// Other stands for a text outside its vocabulary.
const Other = "other"

// The largest numbers that mean anything.
const (
	maxMilliseconds = 7 * 24 * 60 * 60 * 1000
	maxCount        = 1_000_000_000_000
)

// oneOf lets a text through that is known, and replaces any other.
func oneOf(v attribute.Value, known func(string) bool) (attribute.Value, bool) {
	if v.Type() != attribute.STRING || v.AsString() == "" {
		return attribute.Value{}, false
	}
	if s := v.AsString(); len(s) <= maxNameLength && known(s) {
		return v, true
	}
	return attribute.StringValue(Other), true
}

// has looks a word up that the configuration added.
func has(words map[string]struct{}, s string) bool {
	_, ok := words[s]
	return ok
}

func checkMethod(_ *Policy, v attribute.Value) (attribute.Value, bool) { return oneOf(v, isMethod) }

func checkRoute(p *Policy, v attribute.Value) (attribute.Value, bool) {
	return oneOf(v, func(s string) bool { return isRoute(s) || p != nil && has(p.routes, s) })
}

func checkAuthType(_ *Policy, v attribute.Value) (attribute.Value, bool) { return oneOf(v, isAuthType) }

func checkTier(_ *Policy, v attribute.Value) (attribute.Value, bool) { return oneOf(v, isTier) }

func checkCircuitState(_ *Policy, v attribute.Value) (attribute.Value, bool) {
	return oneOf(v, isCircuitState)
}

func checkModel(p *Policy, v attribute.Value) (attribute.Value, bool) {
	return oneOf(v, func(s string) bool { return p != nil && has(p.models, s) || isModel(s) })
}

func checkTaskType(p *Policy, v attribute.Value) (attribute.Value, bool) {
	return oneOf(v, func(s string) bool { return isTaskType(s) || p != nil && has(p.taskTypes, s) })
}

func checkResourceType(_ *Policy, v attribute.Value) (attribute.Value, bool) {
	return oneOf(v, isResourceType)
}

func checkDecision(_ *Policy, v attribute.Value) (attribute.Value, bool) { return oneOf(v, isDecision) }

func checkDenialReason(p *Policy, v attribute.Value) (attribute.Value, bool) {
	return oneOf(v, func(s string) bool { return isDenialReason(s) || p != nil && has(p.denialReasons, s) })
}

// checkHash leaves out what is no hash: there is no saying what it is.
func checkHash(_ *Policy, v attribute.Value) (attribute.Value, bool) {
	return v, v.Type() == attribute.STRING && isHash(v.AsString())
}

func checkStatusCode(_ *Policy, v attribute.Value) (attribute.Value, bool) {
	return v, v.Type() == attribute.INT64 && v.AsInt64() >= 100 && v.AsInt64() <= 599
}

func checkCount(_ *Policy, v attribute.Value) (attribute.Value, bool) {
	return v, v.Type() == attribute.INT64 && v.AsInt64() >= 0 && v.AsInt64() <= maxCount
}

func checkMilliseconds(_ *Policy, v attribute.Value) (attribute.Value, bool) {
	return v, isNumber(v, maxMilliseconds)
}

func checkUnitInterval(_ *Policy, v attribute.Value) (attribute.Value, bool) {
	return v, isNumber(v, 1)
}

// isNumber tells whether v is a number from 0 to limit. NaN is none.
func isNumber(v attribute.Value, limit int64) bool {
	switch v.Type() {
	case attribute.INT64:
		return v.AsInt64() >= 0 && v.AsInt64() <= limit
	case attribute.FLOAT64:
		f := v.AsFloat64()
		return f >= 0 && f <= float64(limit) && !math.Signbit(f)
	default:
		return false
	}
}
