package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"dixie"
	"dixie/database"
	"dixie/spansanitizer"
)

// config is what the environment asks for.
type config struct {
	environment    dixie.Environment
	host           string
	port           int
	finnURL        string
	finnSocketURL  string
	finnToken      string
	secret         string
	adminKey       string
	origins        []string
	allowlistPath  string
	allowlistPoll  bool
	ratePerMinute  int
	trustedProxies []netip.Prefix
	tierTTL        time.Duration
	budget         int64
	databaseURL    string
	poolSize       int
	taskRetention  time.Duration
	redisURL       string
	sharedLimits   bool
	natsURL        string
	otlpEndpoint   string
	tracePolicy    *spansanitizer.Policy
	metricsListen  string
	level          slog.Level
	warnings       []string

	// reserved are the numbers of modules to come, by variable.
	reserved map[string]int
}

// relaxed says whether what is missing is filled in.
func (c *config) relaxed() bool {
	return c.environment == dixie.Development || c.environment == dixie.Test
}

// listensOn takes the port over that the system chose for port 0, and the origin that follows from it.
func (c *config) listensOn(address net.Addr) {
	if tcp, ok := address.(*net.TCPAddr); ok {
		c.port = tcp.Port
	}
	if len(c.origins) > 0 {
		return
	}
	port := ":" + strconv.Itoa(c.port)
	if c.port == schemePort {
		port = "" // A browser leaves it out.
	}
	c.origins = []string{"http://localhost" + port}
	if c.relaxed() {
		c.origins = append(c.origins, "http://"+loopback+port)
	}
}

// baseURL is where a person on this machine reaches the server.
func (c *config) baseURL() string {
	host := c.host
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() || host == loopback {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(c.port))
}

// variable is a row of the configuration, as `staging-server config` shows it.
type variable struct {
	name, kind, standard, text string
}

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
			"FINN_AUTH_TOKEN", "text", "none",
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
			"DIXIE_ALLOWLIST_PATH", "path", "/data/allowlist.json; none in development",
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
			"DIXIE_TRUSTED_PROXIES", "list of CIDR", "none",
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
			"DIXIE_TRACE_HASH_KEY", "text, at least 16 bytes", "none: plain SHA-256",
			"Hashes of wallets in spans become HMACs under this key, so that nobody can look them up by hashing every address. The same on every replica.",
		},
		{
			"DIXIE_METRICS_LISTEN", "host:port, or a port of loopback", "none: /metrics on the main port alone, with the admin key",
			"A further address for Prometheus, which asks for no key: let nobody else reach it.",
		},
	}
}

const (
	defaultPort   = 3001
	highestPort   = 65535
	highestRate   = 10_000
	longestTTL    = 86_400
	highestBudget = 100_000_000
	defaultTTL    = 300
	minSecret     = 32
	minPoolSize   = 4
	schemePort    = 80
	day           = 24 * time.Hour
	retentionDays = 90

	longestRetention = 3650
	loopback         = "127.0.0.1"
)

// reader collects problems and warnings, so that all are reported at once.
type reader struct {
	lookup   func(string) (string, bool)
	problems []error
	warnings []string
}

func (r *reader) text(name string) string {
	value, _ := r.lookup(name)
	return strings.TrimSpace(value)
}

// integer falls back to the default on text that is not a number of 0 or more, and to the bound above it.
func (r *reader) integer(name string, standard, bound int) int {
	value := r.text(name)
	if value == "" {
		return standard
	}
	n, err := strconv.Atoi(value)
	switch {
	case err != nil || n < 0:
		r.warnings = append(r.warnings, fmt.Sprintf("%s is not an integer of 0 or more; using %d", name, standard))
		return standard
	case n > bound:
		r.warnings = append(r.warnings, fmt.Sprintf("%s is above %d; using %d", name, bound, bound))
		return bound
	}
	return n
}

func (r *reader) url(name string, schemes ...string) string {
	value := strings.TrimSuffix(r.text(name), "/")
	if value == "" {
		return ""
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
		r.problemf("%s must be a URL that begins with %s://", name, strings.Join(schemes, ":// or "))
	}
	return value
}

// flag is 1, or 0 when it is absent.
func (r *reader) flag(name string) bool {
	value := r.text(name)
	if value != "" && value != "0" && value != "1" {
		r.problemf("%s is %q, not 0 or 1", name, value)
	}
	return value == "1"
}

// host is an IP address or localhost; the port has a variable of its own.
func (r *reader) host(standard string) string {
	value := r.text("DIXIE_HOST")
	if value == "" {
		return standard
	}
	if value != "localhost" && net.ParseIP(value) == nil {
		r.problemf("DIXIE_HOST is %q, not an IP address or localhost", value)
	}
	return value
}

// database is the URL of PostgreSQL; the user and the password in it must be percent-encoded, or parts of
// them would be taken for the host and shown in errors.
func (r *reader) database() string {
	value := r.url("DATABASE_URL", "postgres", "postgresql")
	_, authority, _ := strings.Cut(value, "://")
	if end := strings.IndexAny(authority, "/?"); end >= 0 {
		authority = authority[:end]
	}
	if strings.Count(authority, "@") > 1 {
		r.problemf("DATABASE_URL has more than one @: percent-encode the password (@ is %%40), or put it into DATABASE_PASSWORD as it is")
	}
	return r.withPassword(value)
}

// sharedLimits says whether replicas count requests together.
func (r *reader) sharedLimits(redisURL string) bool {
	switch backend := r.text("DIXIE_RATE_LIMIT_BACKEND"); backend {
	case "":
		return redisURL != ""
	case "memory":
		return false
	case "redis":
		if redisURL == "" {
			r.problemf("DIXIE_RATE_LIMIT_BACKEND is redis: set REDIS_URL")
		}
		return true
	default:
		r.problemf("DIXIE_RATE_LIMIT_BACKEND is %q, not memory or redis", backend)
		return false
	}
}

// servers is a list of the URLs of NATS; they may carry credentials, so that none is shown.
func (r *reader) servers(name string) string {
	value := r.text(name)
	if value == "" {
		return ""
	}
	for item := range strings.SplitSeq(value, ",") {
		u, err := url.Parse(strings.TrimSpace(item))
		if err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls" ||
			strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			r.problemf("%s must be nats://host:port or tls://host:port, or several separated by commas", name)
			break
		}
	}
	return value
}

// tracePolicy says what spans may carry, and how they hash.
func (r *reader) tracePolicy() *spansanitizer.Policy {
	policy, err := spansanitizer.New(spansanitizer.Config{HashKey: []byte(r.text("DIXIE_TRACE_HASH_KEY"))})
	if err != nil {
		r.problemf("DIXIE_TRACE_HASH_KEY: %w", err)
	}
	return policy
}

func (r *reader) poolSize() int {
	n := r.integer("DATABASE_POOL_SIZE", database.DefaultSize, database.MaxSize)
	if n < minPoolSize {
		r.warnings = append(r.warnings, fmt.Sprintf("DATABASE_POOL_SIZE is below %d; using %d", minPoolSize, minPoolSize))
		return minPoolSize
	}
	return n
}

func (r *reader) problemf(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

func list(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSuffix(strings.TrimSpace(item), "/"); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// readConfig reads the environment and reports every problem at once.
func readConfig(lookup func(string) (string, bool)) (config, error) {
	r := newReader(lookup)
	c := config{environment: dixie.Development, port: r.integer("DIXIE_PORT", defaultPort, highestPort)}
	name := "DIXIE_ENV"
	word := r.text(name)
	if word == "" {
		name = "NODE_ENV"
		word = r.text(name)
	}
	if word != "" {
		c.environment = dixie.Environment(word)
	}
	switch c.environment {
	case dixie.Development, dixie.Test, dixie.Staging, dixie.Production:
	default:
		r.problemf("%s is %q, not development, test, staging or production", name, word)
	}
	standardHost := ""
	if c.relaxed() {
		standardHost = loopback
	}
	c.host = r.host(standardHost)
	c.finnURL = r.url("FINN_URL", "http", "https")
	c.finnSocketURL = r.url("FINN_WS_URL", "ws", "wss")
	c.finnToken = r.text("FINN_AUTH_TOKEN")
	c.secret, _ = r.lookup("DIXIE_JWT_PRIVATE_KEY")
	c.adminKey = r.text("DIXIE_ADMIN_KEY")
	c.origins = list(r.text("DIXIE_CORS_ORIGINS"))
	for _, origin := range c.origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || origin != u.Scheme+"://"+u.Host {
			r.problemf("DIXIE_CORS_ORIGINS: %q is not scheme://host[:port]", origin)
		}
	}
	c.allowlistPath = r.text("DIXIE_ALLOWLIST_PATH")
	c.allowlistPoll = r.flag("DIXIE_ALLOWLIST_POLL")
	c.ratePerMinute = r.integer("DIXIE_RATE_LIMIT_RPM", dixie.DefaultRatePerMinute, highestRate)
	for _, item := range list(r.text("DIXIE_TRUSTED_PROXIES")) {
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			r.problemf("DIXIE_TRUSTED_PROXIES: %q is not a CIDR such as 10.0.0.0/8", item)
			continue
		}
		c.trustedProxies = append(c.trustedProxies, prefix)
	}
	c.tierTTL = time.Duration(r.integer("DIXIE_CONVICTION_TIER_TTL", defaultTTL, longestTTL)) * time.Second
	c.budget = int64(r.integer("DIXIE_AUTONOMOUS_BUDGET", dixie.DefaultBudgetMicroUSD, highestBudget))
	c.databaseURL = r.database()
	c.redisURL = r.url("REDIS_URL", "redis", "rediss")
	c.sharedLimits = r.sharedLimits(c.redisURL)
	c.natsURL = r.servers("NATS_URL")
	c.otlpEndpoint = r.text("OTEL_EXPORTER_OTLP_ENDPOINT")
	c.tracePolicy = r.tracePolicy()
	c.taskRetention = time.Duration(r.integer("DIXIE_TASK_RETENTION_DAYS", retentionDays, longestRetention)) * day
	c.poolSize = r.poolSize()
	c.metricsListen = r.listen("DIXIE_METRICS_LISTEN")
	if level := r.text("LOG_LEVEL"); level != "" {
		if err := c.level.UnmarshalText([]byte(level)); err != nil {
			r.problemf("LOG_LEVEL is %q, not error, warn, info or debug", level)
		}
	}
	if strings.HasPrefix(c.adminKey, "dxk_") {
		r.problemf("DIXIE_ADMIN_KEY must not begin with dxk_, as API keys do")
	}
	if c.adminKey == "" && c.relaxed() {
		c.adminKey = rand.Text()
		r.warnings = append(r.warnings, "DIXIE_ADMIN_KEY is not set; a random one is printed at the start")
	}
	c.reserved = r.reserved()
	r.strict(&c)
	c.warnings = r.warnings
	return c, errors.Join(r.problems...)
}

// strict holds what must not be left open outside of development and test.
func (r *reader) strict(c *config) {
	if c.secret != "" && len(c.secret) < minSecret {
		r.problemf("DIXIE_JWT_PRIVATE_KEY has %d bytes, at least %d are needed", len(c.secret), minSecret)
	}
	if c.relaxed() {
		if c.allowlistPath == "" && !isLoopback(c.host) {
			r.problemf("without an allowlist every wallet is admitted, which is allowed on a loopback address only: " +
				"set DIXIE_ALLOWLIST_PATH, or DIXIE_HOST=127.0.0.1")
		}
		return
	}
	if c.finnURL == "" {
		r.problemf("FINN_URL is required in %s", c.environment)
	}
	if c.secret == "" {
		r.problemf("DIXIE_JWT_PRIVATE_KEY is required in %s", c.environment)
	}
	if c.adminKey == "" && c.environment == dixie.Production {
		r.problemf("DIXIE_ADMIN_KEY is required in production")
	}
	if c.ratePerMinute == 0 {
		r.problemf("DIXIE_RATE_LIMIT_RPM=0 is allowed in development and test only")
	}
	if c.allowlistPath == "" {
		c.allowlistPath = "/data/allowlist.json"
	}
	if c.redisURL == "" {
		r.warnings = append(r.warnings, "REDIS_URL is not set: sign-ins, limits and turns are this process's own affair, so run one replica only")
	}
	if c.databaseURL == "" {
		r.problemf("DATABASE_URL is required in %s: stores in memory forget everything when the process ends", c.environment)
	}
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// environment is the lookup of the process.
func environment(name string) (string, bool) { return os.LookupEnv(name) }
