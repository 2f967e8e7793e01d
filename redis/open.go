package redis

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Bounds and defaults of a client.
const (
	DefaultPoolSize = 20
	MaxPoolSize     = 1000
	// DialTimeout, and CallTimeout for writing a command or reading its reply, bound one attempt.
	DialTimeout = 400 * time.Millisecond
	CallTimeout = 400 * time.Millisecond

	// retries is one: a connection that died while it was idle fails the first attempt. Both attempts
	// together end within a second, and so does waiting for a connection while all are in use.
	retries     = 1
	poolTimeout = CallTimeout
)

// Config says which Redis, and how to use it.
type Config struct {
	// URL is redis://[user:password@]host[:port][/database], or the same with rediss for TLS. Parameters
	// of go-redis such as read_timeout or max_retries win over the values of this package.
	URL string
	// PoolSize is how many connections there are at most, up to [MaxPoolSize]; 0 is [DefaultPoolSize]
	// unless the URL has pool_size.
	PoolSize int
	// ClientName is what Redis shows of this process in CLIENT LIST: printable ASCII without spaces.
	// Empty is "dixie" unless the URL has client_name.
	ClientName string
	// Logger gets a warning when Redis becomes unavailable, and a line when it is back. Nil discards them.
	Logger *slog.Logger
}

// Open makes a client. It connects when it is first used, and again after a connection was lost, so that a
// Redis that is away at the start is like one that goes away later. The caller closes it after everything
// that uses it.
//
// Deadlines of the caller's context hold. A call against a server that hangs ends within a second, its
// retry included. After three calls in a row that could not connect or got no answer, calls fail at once
// with [ErrUnavailable]; one call a second is let through, and the first that is answered ends this. A
// reply of Redis, be it an error, is an answer. A call that the caller's own context ended says nothing.
//
// It speaks RESP2 with CLIENT SETNAME only: no CLIENT SETINFO and no maintenance notifications, which older
// servers refuse. Errors of Open never quote the URL.
func Open(cfg Config) (*goredis.Client, error) {
	options, err := parse(cfg)
	if err != nil {
		return nil, err
	}
	options.Dialer = dialer(options.TLSConfig)
	client := goredis.NewClient(options)
	client.AddHook(newBreaker(cfg.Logger))
	return client, nil
}

func parse(cfg Config) (*goredis.Options, error) {
	// The errors of the parsers quote parts of the URL, and where it is malformed, any part of it may be
	// the password. So none of them is passed on.
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, errors.New("redis: the URL cannot be parsed; special characters in a password are to be percent-encoded")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" {
		return nil, errors.New("redis: the URL does not begin with redis:// or rediss://")
	}
	if u.Hostname() == "" {
		return nil, errors.New("redis: the URL names no host")
	}
	options, err := goredis.ParseURL(cfg.URL)
	if err != nil {
		return nil, errors.New("redis: the URL's path is not a database number, or one of its parameters is unknown or has no valid value")
	}
	if options.DB < 0 {
		return nil, errors.New("redis: the number of the database is negative")
	}
	if cfg.PoolSize != 0 {
		options.PoolSize = cfg.PoolSize
	}
	options.PoolSize = cmp.Or(options.PoolSize, DefaultPoolSize)
	if options.PoolSize < 1 || options.PoolSize > MaxPoolSize {
		return nil, fmt.Errorf("redis: the size of the pool is %d, not within 1 and %d", options.PoolSize, MaxPoolSize)
	}
	if cfg.ClientName != "" {
		options.ClientName = cfg.ClientName
	}
	options.ClientName = cmp.Or(options.ClientName, "dixie")
	if strings.ContainsFunc(options.ClientName, func(r rune) bool { return r <= ' ' || r > '~' }) {
		// Redis would refuse every connection.
		return nil, errors.New("redis: the client's name has a character that is not printable ASCII, or a space")
	}
	options.DialTimeout = cmp.Or(options.DialTimeout, DialTimeout)
	options.ReadTimeout = cmp.Or(options.ReadTimeout, CallTimeout)
	options.WriteTimeout = cmp.Or(options.WriteTimeout, CallTimeout)
	options.PoolTimeout = cmp.Or(options.PoolTimeout, poolTimeout)
	options.MaxRetries = cmp.Or(options.MaxRetries, retries)
	options.Protocol = cmp.Or(options.Protocol, 2)
	options.ContextTimeoutEnabled = true
	options.DialerRetries = 1     // Within each of the attempts above.
	options.PipelinePoolSize = -1 // No store uses pipelines.
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return options, nil
}
