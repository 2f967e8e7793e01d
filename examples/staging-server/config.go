package main

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"dixie"
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
	tracePolicy    *spansanitizer.Policy
	metricsListen  string
	level          slog.Level
	warnings       []string

	// getenv reads what is not read into this, with the secrets from files.
	getenv func(string) string
	// reserved are the numbers of modules to come, by variable.
	reserved map[string]int
}

// relaxed says whether what is missing is filled in.
func (c *config) relaxed() bool {
	return c.environment == dixie.Development || c.environment == dixie.Test
}

// known says whether it is an environment that there is.
func (c *config) known() bool {
	return c.relaxed() || c.environment == dixie.Staging || c.environment == dixie.Production
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

// readConfig reads the environment and reports every problem at once: all that keeps the server from starting before
// it asks a server. It opens no connection.
func readConfig(lookup func(string) (string, bool)) (config, error) {
	r := newReader(lookup)
	c := config{port: r.integer("DIXIE_PORT", defaultPort, highestPort), getenv: r.value}
	var name string
	c.environment, name = r.environment()
	if !c.known() {
		r.problemf("%s is %q, not development, test, staging or production", name, c.environment)
	}
	standardHost := ""
	if c.relaxed() {
		standardHost = loopback
	}
	c.host = r.host(standardHost)
	r.finn(&c)
	c.secret = r.value("DIXIE_JWT_PRIVATE_KEY")
	c.adminKey = r.adminKey()
	c.origins = r.origins()
	c.allowlistPath = r.text("DIXIE_ALLOWLIST_PATH")
	c.allowlistPoll = r.flag("DIXIE_ALLOWLIST_POLL")
	c.ratePerMinute = r.integer("DIXIE_RATE_LIMIT_RPM", dixie.DefaultRatePerMinute, highestRate)
	c.trustedProxies = r.trustedProxies()
	c.tierTTL = time.Duration(r.integer("DIXIE_CONVICTION_TIER_TTL", defaultTTL, longestTTL)) * time.Second
	c.budget = int64(r.integer("DIXIE_AUTONOMOUS_BUDGET", dixie.DefaultBudgetMicroUSD, highestBudget))
	c.databaseURL = r.database()
	c.redisURL = r.redis()
	c.sharedLimits = r.sharedLimits(c.redisURL)
	c.natsURL = r.signals()
	c.tracePolicy = r.tracePolicy()
	r.tracing(telemetryConfig(c))
	c.taskRetention = time.Duration(r.integer("DIXIE_TASK_RETENTION_DAYS", retentionDays, longestRetention)) * day
	c.poolSize = r.poolSize()
	c.metricsListen = r.listen("DIXIE_METRICS_LISTEN")
	r.metricsApart(&c)
	if level := r.text("LOG_LEVEL"); level != "" {
		if err := c.level.UnmarshalText([]byte(level)); err != nil {
			r.problemf("LOG_LEVEL is %q, not error, warn, info or debug", level)
		}
	}
	// A file that cannot be read is a problem already: nothing will start, nor print.
	if file, _ := lookup("DIXIE_ADMIN_KEY" + fileSuffix); c.adminKey == "" && file == "" && c.relaxed() {
		c.adminKey = rand.Text()
		r.warnf("DIXIE_ADMIN_KEY is not set; a random one is printed at the start")
	}
	c.reserved = r.reserved()
	if c.secret != "" && len(c.secret) < minSecret {
		r.problemf("DIXIE_JWT_PRIVATE_KEY has %d bytes, at least %d are needed", len(c.secret), minSecret)
	}
	switch {
	case c.relaxed():
		r.relaxed(&c)
	case c.known():
		r.strict(&c)
	}
	r.allowlist(c.allowlistPath)
	c.warnings = r.warnings
	return c, errors.Join(r.problems...)
}

// relaxed holds what must not be left open even in development and test.
func (r *reader) relaxed(c *config) {
	if c.allowlistPath == "" && !isLoopback(c.host) {
		r.problemf("without an allowlist every wallet is admitted, which is allowed on a loopback address only: " +
			"set DIXIE_ALLOWLIST_PATH, or DIXIE_HOST=127.0.0.1")
	}
}

// strict holds what must not be left open outside of development and test.
func (r *reader) strict(c *config) {
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
		r.warnf("REDIS_URL is not set: sign-ins, limits and turns are this process's own affair, so run one replica only")
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
