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
// version, namespace and instance, the environment, and the SDK. A value must be a plain name of 64 bytes at most.
func (p *Policy) ResourceAttribute(kv attribute.KeyValue) (attribute.KeyValue, bool) {
	if !isResourceKey(string(kv.Key)) || kv.Value.Type() != attribute.STRING || !isPlainName(kv.Value.AsString()) {
		return attribute.KeyValue{}, false
	}
	return kv, true
}

func isResourceKey(key string) bool {
	switch key {
	case "service.name", "service.version", "service.namespace", "service.instance.id",
		"deployment.environment", "deployment.environment.name",
		"telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version":
		return true
	default:
		return false
	}
}
