package spansanitizer

import "go.opentelemetry.io/otel/attribute"

// Scope returns the name under which the spans of an instrumentation library may leave, and whether the library
// is this module. The spans of others keep nothing.
func (p *Policy) Scope(name string) (string, bool) {
	if name == ScopeName {
		return ScopeName, true
	}
	return foreignScope, false
}

// ResourceAttribute returns what may be said about the process, and whether that is anything: its service name,
// version and namespace, the environment and the SDK, each a plain name of 64 bytes at most, and the instance, which
// must be a UUID: a host name or an address would say whose machine it is. The plain names are the operator's own words,
// and leave as they are written.
func (p *Policy) ResourceAttribute(kv attribute.KeyValue) (attribute.KeyValue, bool) {
	if kv.Value.Type() != attribute.STRING || !isResourceValue(string(kv.Key), kv.Value.AsString()) {
		return attribute.KeyValue{}, false
	}
	return kv, true
}

func isResourceValue(key, value string) bool {
	switch key {
	case "service.name", "service.version", "service.namespace",
		"deployment.environment", "deployment.environment.name",
		"telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version":
		return isPlainName(value)
	case "service.instance.id":
		return isUUID(value)
	default:
		return false
	}
}

// isUUID tells whether s is 32 hexadecimal digits in five groups.
func isUUID(s string) bool {
	const form = "00000000-0000-0000-0000-000000000000"
	if len(s) != len(form) {
		return false
	}
	for i := range len(s) {
		if form[i] == '-' && s[i] != '-' || form[i] != '-' && !isHexDigit(s[i]) {
			return false
		}
	}
	return true
}
