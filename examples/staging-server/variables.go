package main

import "slices"

// variable is a row of the configuration, as `staging-server config` shows it.
type variable struct {
	name, kind, standard, text string
}

const (
	pathKind  = "path"
	noDefault = "none"
)

// variables are all that the server reads, in the order in which they are documented.
func variables() []variable {
	return slices.Concat(servingVariables(), observingVariables(), reservedVariables(), fileVariables())
}

func servingVariables() []variable { //nolint:funlen // A table.
	return []variable{
		{
			"DIXIE_ENV", "development|test|staging|production", "development",
			"Where the server runs. Unset: development, on loopback only. NODE_ENV is read when it is absent.",
		},
		{
			"NODE_ENV", "development|test|staging|production", "development",
			"The older name of DIXIE_ENV, which wins over it.",
		},
		{
			"DIXIE_HOST", "address", "127.0.0.1 in development and test, else all",
			"The address to listen on.",
		},
		{
			"DIXIE_PORT", "integer, at most 65535", "3001",
			"The port to listen on.",
		},
		{
			"LOG_LEVEL", "error|warn|info|debug", "info",
			"The least severe log lines that are written.",
		},
		{
			"FINN_URL", "URL", "in-process Finn in development",
			"Where Finn is. Required in staging and production.",
		},
		{
			"FINN_WS_URL", "URL", "FINN_URL with ws or wss",
			"Where Finn's WebSocket is.",
		},
		{
			"FINN_AUTH_TOKEN", "text", noDefault,
			"The token that Finn wants.",
		},
		{
			"DATABASE_URL", "URL", "none: stores in memory",
			"The PostgreSQL database, whose schema is brought up to date at the start. Required in staging and production.",
		},
		{
			"DATABASE_PASSWORD", "text", "none: that in DATABASE_URL",
			"The password of the user of DATABASE_URL, as it is, with nothing percent-encoded. DATABASE_URL holds none then.",
		},
		{
			"DATABASE_POOL_SIZE", "integer from 4, at most 100", "10",
			"Connections to the database; two more listen, for work and for changes of the allowlist, and up to three migrate at the start.",
		},
		{
			"REDIS_URL", "URL", "none: each process by itself",
			"The Redis that replicas share nonces, tickets, rate limits, tiers and turns of chat sessions by. More than one replica needs it.",
		},
		{
			"NATS_URL", "list of URLs", "none: no signals",
			"The NATS servers, with JetStream, that signals go to.",
		},
		{
			"DIXIE_TASK_RETENTION_DAYS", "integer days, at most 3650", "90",
			"How long tasks that have ended are kept, with their logs. 0 keeps them for ever.",
		},
		{
			"DIXIE_JWT_PRIVATE_KEY", "text, at least 32 bytes", "random in development",
			"The secret that signs tokens. Required in staging and production; the same on every replica.",
		},
		{
			"DIXIE_ADMIN_KEY", "text", "random in development",
			"Opens the admin routes. Required in production.",
		},
		{
			"DIXIE_CORS_ORIGINS", "list", "http://localhost:{port}",
			"The sites that people sign in from, separated by commas.",
		},
		{
			"DIXIE_ALLOWLIST_PATH", pathKind, "/data/allowlist.json; none in development",
			"The allowlist file; with DATABASE_URL it seeds the table at the start. In development without one every wallet is admitted, with no table.",
		},
		{
			"DIXIE_ALLOWLIST_POLL", "0|1", "0",
			"1 looks at the file every 30 s instead of watching its folder. Without DATABASE_URL only.",
		},
		{
			"DIXIE_RATE_LIMIT_RPM", "integer, at most 10000", "100",
			"Requests a minute for each caller. 0 switches it off, in development and test only.",
		},
		{
			"DIXIE_RATE_LIMIT_BACKEND", "memory|redis", "redis with REDIS_URL, else memory",
			"Where requests are counted: in each process, or for all replicas together.",
		},
		{
			"DIXIE_TRUSTED_PROXIES", "list of CIDR", noDefault,
			"Proxies that may name the client in X-Forwarded-For.",
		},
		{
			"DIXIE_CONVICTION_TIER_TTL", "integer seconds, at most 86400", "300",
			"How long a resolved tier is used again.",
		},
		{
			"DIXIE_AUTONOMOUS_BUDGET", "integer micro-USD, at most 100000000", "100000",
			"What the tasks of a wallet may cost in a UTC day. 0 admits none.",
		},
	}
}

func observingVariables() []variable {
	return []variable{
		{
			"OTEL_EXPORTER_OTLP_ENDPOINT", "URL", "none: no tracing",
			"The collector that spans go to, by OTLP over gRPC. OpenTelemetry's other variables count beside it; see package telemetry.",
		},
		{
			"OTEL_EXPORTER_OTLP_HEADERS", "list of name=value", noDefault,
			"What the collector wants to be sent with spans, such as a key; values percent-encoded.",
		},
		{
			"OTEL_EXPORTER_OTLP_CERTIFICATE", pathKind, "none: those of the system",
			"The certificates, in PEM, that a collector at an https URL is trusted by.",
		},
		{
			"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", pathKind, noDefault,
			"The certificate, in PEM, that this server shows the collector. OTEL_EXPORTER_OTLP_CLIENT_KEY goes with it.",
		},
		{
			"OTEL_EXPORTER_OTLP_CLIENT_KEY", pathKind, noDefault,
			"The key of that certificate, in PEM.",
		},
		{
			"OTEL_EXPORTER_OTLP_TIMEOUT", "integer milliseconds, at most 3600000", "10000",
			"How long the collector may take for a batch of spans.",
		},
		{
			"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip|none", noDefault,
			"Whether spans are compressed on their way.",
		},
		{
			"OTEL_TRACES_SAMPLER", "always_on|always_off|traceidratio, or these with parentbased_", "parentbased_always_on",
			"Which traces are recorded; with parentbased_ the caller's decision counts where there is one.",
		},
		{
			"OTEL_TRACES_SAMPLER_ARG", "number, from 0 to 1", "1",
			"For traceidratio: which part of the traces is recorded.",
		},
		{
			"OTEL_RESOURCE_ATTRIBUTES", "list of name=value", noDefault,
			"What else spans say of this process. Only what the policy allows leaves; see package spansanitizer.",
		},
		{
			"OTEL_TRACES_EXPORTER", "otlp|none", "otlp",
			"none switches tracing off, whatever else is set.",
		},
		{
			"OTEL_SDK_DISABLED", "true|false", "false",
			"true switches tracing off, whatever else is set.",
		},
		{
			"DIXIE_TRACE_HASH_KEY", "text, at least 16 bytes", "none: plain SHA-256",
			"Hashes of wallets, in spans and in the log, become HMACs under this key, which no hashing of all addresses finds out. The same on every replica.",
		},
		{
			"DIXIE_METRICS_LISTEN", "host:port, or a port of loopback", "none: /metrics on the main port alone, with the admin key",
			"A further address for Prometheus, which asks for no key: let nobody else reach it.",
		},
	}
}
