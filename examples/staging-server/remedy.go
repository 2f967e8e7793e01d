package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// withRemedy adds to an error of PostgreSQL or of the allowlist, if there is one, what an operator can do about it.
func withRemedy(err error) error {
	if err == nil {
		return nil
	}
	var remedy string
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		remedy = remedyFor(refused.Code)
	} else {
		remedy = remedyWithoutServer(err)
	}
	if remedy == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, remedy)
}

// remedyFor is that for an SQLSTATE; empty where none is known.
func remedyFor(code string) string {
	switch code {
	case "28P01":
		return "check DATABASE_PASSWORD or the password in DATABASE_URL (in Compose: POSTGRES_PASSWORD); " +
			"a database keeps the password that it was made with until ALTER ROLE changes it"
	case "28000":
		return "check the user in DATABASE_URL, and that pg_hba.conf lets it in from here"
	case "3D000":
		return "create the database that DATABASE_URL names"
	case "42501":
		return "the user in DATABASE_URL must own the database, or be allowed to create tables in it"
	case "53100":
		return "the disk of PostgreSQL is full: free space there"
	case "53300":
		return "PostgreSQL has no connection left: lower DATABASE_POOL_SIZE or raise its max_connections"
	case "57P03":
		return "PostgreSQL starts or stops: wait until it is ready, and start again"
	case "25006":
		return "PostgreSQL is a replica that can only be read: DATABASE_URL must name the primary"
	case "42704", "22023":
		return "PostgreSQL does not know a parameter in DATABASE_URL, or its value: correct what is behind the ?"
	case "42P01", "42703":
		return "bring the schema to this version: staging-server migrate up"
	default:
		return ""
	}
}

const noTLS = "server refused TLS connection"

// remedyWithoutServer is for what no server has said.
func remedyWithoutServer(err error) string {
	var (
		connect     *pgconn.ConnectError
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
		file        *fs.PathError
		syntax      *json.SyntaxError
		kind        *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &name):
		return "check the host in DATABASE_URL"
	case strings.Contains(err.Error(), noTLS):
		return "switch TLS on in PostgreSQL, or write sslmode=disable into DATABASE_URL where the way to it is safe"
	case errors.As(err, &certificate):
		return "sslrootcert in DATABASE_URL must name what signed the certificate of PostgreSQL, and the host must be the one that it is for"
	case errors.As(err, &connect) && timedOut(err):
		return "PostgreSQL does not answer: check the host and the port in DATABASE_URL, and the firewalls on the way"
	case errors.As(err, &connect):
		return "start PostgreSQL, or correct the host and the port in DATABASE_URL"
	case errors.Is(err, fs.ErrPermission):
		return "the user of this process must be able to read the file of DIXIE_ALLOWLIST_PATH (chmod 644)"
	case errors.As(err, &file), errors.As(err, &syntax), errors.As(err, &kind):
		return `DIXIE_ALLOWLIST_PATH must name a file of the form {"version":1,"wallets":[],"apiKeys":[]}`
	default:
		return ""
	}
}

func timedOut(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout()
}

// withListenRemedy names the variable that an address cannot be taken because of.
func withListenRemedy(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; DIXIE_PORT is taken: end what listens there, or choose another", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w; DIXIE_HOST must be an address of this machine", err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w; this process may not take that DIXIE_PORT: choose one from 1024", err)
	default:
		return fmt.Errorf("%w; check DIXIE_HOST and DIXIE_PORT", err)
	}
}

// logRedis says what is wrong at the start with a Redis that is not needed for it. One that refuses us will go on
// doing so; one that is away may come.
func logRedis(ctx context.Context, logger *slog.Logger, err error) {
	level, remedy := redisRemedy(err)
	logger.Log(ctx, level, "the Redis of REDIS_URL cannot be used; nobody can sign in until it can", "error", err.Error(), "remedy", remedy)
}

func redisRemedy(err error) (slog.Level, string) {
	text := err.Error()
	begins := func(words ...string) bool {
		for _, word := range words {
			if strings.HasPrefix(text, word) {
				return true
			}
		}
		return false
	}
	var name *net.DNSError
	switch {
	case begins("WRONGPASS", "NOAUTH", "ERR invalid password", "ERR AUTH", "ERR Client sent AUTH", "NOPERM"):
		return slog.LevelError, "check the user and the password in REDIS_URL, percent-encoded, and what the user may do"
	case begins("ERR DB index", "ERR SELECT", "ERR invalid DB index"):
		return slog.LevelError, "check the number of the database behind the / in REDIS_URL"
	case begins("LOADING", "MASTERDOWN", "BUSY"):
		return slog.LevelWarn, "Redis is busy: wait"
	case strings.Contains(text, "tls: ") || strings.Contains(text, "x509: "):
		return slog.LevelError, "REDIS_URL is to begin with rediss:// where Redis speaks TLS, with a certificate that is trusted here, and else with redis://"
	case errors.As(err, &name):
		return slog.LevelWarn, "check the host in REDIS_URL"
	case timedOut(err):
		return slog.LevelWarn, "Redis does not answer: check the host and the port in REDIS_URL, and the firewalls on the way"
	default:
		return slog.LevelWarn, "start Redis, or correct the host and the port in REDIS_URL"
	}
}
