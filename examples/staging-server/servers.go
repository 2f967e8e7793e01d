package main

import (
	"errors"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	goredis "github.com/redis/go-redis/v9"

	"dixie/finn"
	"dixie/redis"
	"dixie/signals"
)

// finn reads where Finn is. What is wrong is told in the words of the environment, so it asks the client about one
// thing at a time.
func (r *reader) finn(c *config) {
	refused := func(cfg finn.Config) bool {
		client, err := finn.New(cfg)
		if err != nil {
			return true
		}
		_ = client.Close()
		return false
	}
	const anywhere = "http://localhost"
	before := len(r.problems)
	c.finnURL = r.url("FINN_URL", "http", "https")
	if len(r.problems) == before && c.finnURL != "" && refused(finn.Config{URL: c.finnURL}) {
		r.problemf("FINN_URL must not carry credentials, a query or a fragment; a token goes into FINN_AUTH_TOKEN")
	}
	before = len(r.problems)
	c.finnSocketURL = r.url("FINN_WS_URL", "ws", "wss")
	if len(r.problems) == before && refused(finn.Config{URL: anywhere, WebSocketURL: c.finnSocketURL}) {
		r.problemf("FINN_WS_URL must not carry credentials, a query or a fragment; a token goes into FINN_AUTH_TOKEN")
	}
	c.finnToken = r.text("FINN_AUTH_TOKEN")
	if refused(finn.Config{URL: anywhere, Token: c.finnToken}) {
		r.problemf("FINN_AUTH_TOKEN must be printable ASCII without blanks, and not too long")
	}
}

// database is the URL of PostgreSQL, with the password; the user and the password in it must be percent-encoded, or
// parts of them would be taken for the host and shown in errors.
func (r *reader) database() string {
	before := len(r.problems)
	value := r.url("DATABASE_URL", "postgres", "postgresql")
	_, authority, _ := strings.Cut(value, "://")
	if end := strings.IndexAny(authority, "/?"); end >= 0 {
		authority = authority[:end]
	}
	if strings.Count(authority, "@") > 1 {
		r.problemf("DATABASE_URL has more than one @: percent-encode the password (@ is %%40), or put it into DATABASE_PASSWORD as it is")
	}
	value = r.withPassword(value)
	if value == "" || len(r.problems) > before {
		return value
	}
	if _, err := pgxpool.ParseConfig(value); err != nil {
		text := err.Error()
		if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
			// It begins with the URL.
			text = text[strings.LastIndex(text, "`: ")+len("`: "):]
		}
		r.problemf("DATABASE_URL is not usable: %s", text)
	}
	return value
}

// redis is the URL of Redis. A client that is told to keep idle connections dials at once, so it is not told here.
func (r *reader) redis() string {
	before := len(r.problems)
	value := r.url("REDIS_URL", "redis", "rediss")
	u, err := url.Parse(value)
	if value == "" || err != nil || len(r.problems) > before {
		return value
	}
	query := u.Query()
	query.Del("min_idle_conns")
	u.RawQuery = query.Encode()
	client, err := redis.Open(redis.Config{URL: u.String()})
	if err != nil {
		r.problemf("REDIS_URL: %w", err)
		return value
	}
	_ = client.Close()
	if _, err := goredis.ParseURL(value); err != nil {
		r.problemf("REDIS_URL: its min_idle_conns is not a number")
	}
	return value
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

// signals is a list of the URLs of NATS; they may carry credentials, so that none is shown.
func (r *reader) signals() string {
	value := r.text("NATS_URL")
	if value == "" {
		return ""
	}
	if (signals.Config{URL: value}).Check() != nil {
		r.problemf("NATS_URL must be nats://host:port or tls://host:port, or several separated by commas, with ports within 1 and %d", highestPort)
	}
	return value
}
