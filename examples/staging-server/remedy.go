package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// withRemedy adds to an error at the start what an operator can do about it.
func withRemedy(err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return withoutServer(err)
	}
	remedies := map[string]string{
		"28P01": "check DATABASE_PASSWORD or the password in DATABASE_URL (in Compose: POSTGRES_PASSWORD); " +
			"a database keeps the password that it was made with until ALTER ROLE changes it",
		"28000": "check the user in DATABASE_URL, and that pg_hba.conf lets it in from here",
		"3D000": "create the database that DATABASE_URL names",
		"42501": "the user in DATABASE_URL must own the database, or be allowed to create tables in it",
		"53100": "the disk of PostgreSQL is full: free space there",
		"53300": "PostgreSQL has no connection left: lower DATABASE_POOL_SIZE or raise its max_connections",
	}
	if remedy, ok := remedies[refused.Code]; ok {
		return fmt.Errorf("%w; %s", err, remedy)
	}
	return err
}

// withoutServer is withRemedy for what no server has said.
func withoutServer(err error) error {
	var (
		connect *pgconn.ConnectError
		name    *net.DNSError
		file    *fs.PathError
		syntax  *json.SyntaxError
		kind    *json.UnmarshalTypeError
		remedy  string
	)
	switch {
	case errors.As(err, &name):
		remedy = "check the host in DATABASE_URL"
	case errors.As(err, &connect):
		remedy = "start PostgreSQL, or correct the host and the port in DATABASE_URL"
	case errors.Is(err, fs.ErrPermission):
		remedy = "the user of this process must be able to read the file of DIXIE_ALLOWLIST_PATH (chmod 644)"
	case errors.As(err, &file), errors.As(err, &syntax), errors.As(err, &kind):
		remedy = `DIXIE_ALLOWLIST_PATH must name a file of the form {"version":1,"wallets":[],"apiKeys":[]}`
	default:
		return err
	}
	return fmt.Errorf("%w; %s", err, remedy)
}
