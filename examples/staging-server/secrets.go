package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"dixie/internal/secretfile"
)

// secretNames are the variables whose values nobody is shown, and which may stand in a file instead.
func secretNames() []string {
	return []string{
		"DATABASE_URL", "DATABASE_PASSWORD", "REDIS_URL", "NATS_URL",
		"DIXIE_JWT_PRIVATE_KEY", "DIXIE_ADMIN_KEY", "FINN_AUTH_TOKEN", "DIXIE_SCHEDULE_CALLBACK_SECRET",
		"DIXIE_TRACE_HASH_KEY", "OTEL_EXPORTER_OTLP_HEADERS",
	}
}

// fileVariables name files that hold secrets, as Docker and Kubernetes mount them.
func fileVariables() []variable {
	names := secretNames()
	rows := make([]variable, len(names))
	for i, name := range names {
		rows[i] = variable{
			name + fileSuffix, pathKind, noDefault,
			"A file that holds the value of " + name + ", which is not set then. A line feed at its end does not count.",
		}
	}
	return rows
}

const fileSuffix = "_FILE"

// newReader reads variables, and the files that hold secrets at once.
func newReader(lookup func(string) (string, bool)) *reader {
	r := &reader{}
	fromFiles := map[string]string{}
	for _, name := range secretNames() {
		path, _ := lookup(name + fileSuffix)
		if path == "" {
			continue
		}
		if value, _ := lookup(name); value != "" {
			r.problemf("%s and %s are both set: keep one", name, name+fileSuffix)
			continue
		}
		value, err := secretfile.Read(path)
		if err != nil {
			r.problemf("%s: %w", name+fileSuffix, err)
			continue
		}
		fromFiles[name] = value
	}
	r.lookup = func(name string) (string, bool) {
		if value, ok := fromFiles[name]; ok {
			return value, true
		}
		return lookup(name)
	}
	return r
}

// withPassword puts DATABASE_PASSWORD into the URL of the database, percent-encoded.
func (r *reader) withPassword(databaseURL string) string {
	password := r.value("DATABASE_PASSWORD")
	if password == "" {
		return databaseURL
	}
	if databaseURL == "" {
		r.warnf("DATABASE_PASSWORD is set, and DATABASE_URL is not; it is not used")
		return ""
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		return databaseURL // Reported already.
	}
	_, twice := u.User.Password()
	switch {
	case strings.ContainsRune(password, 0):
		r.problemf("DATABASE_PASSWORD has a zero byte, which PostgreSQL does not take")
	case twice || u.Query().Has("password"):
		r.problemf("DATABASE_URL holds a password and DATABASE_PASSWORD is set: keep one")
	case u.User.Username() == "":
		r.problemf("DATABASE_URL names no user for DATABASE_PASSWORD: write postgres://USER@HOST/DATABASE")
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String()
}

// masked is a value as it may be shown: of a URL all but its credentials, of a secret its length.
func masked(v variable, value string) string {
	switch {
	case value == "":
		return ""
	case strings.Contains(v.kind, "URL"):
		items := strings.Split(value, ",")
		for i, item := range items {
			items[i] = maskedURL(strings.TrimSpace(item))
		}
		return strings.Join(items, ",")
	case slices.Contains(secretNames(), v.name):
		return fmt.Sprintf("(%d bytes, not shown)", len(value))
	default:
		return value
	}
}

const mask = "***"

// maskedURL shows no user without a password but that of PostgreSQL, since NATS has tokens there, and no query but its
// names.
func maskedURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || strings.Contains(u.Host, "@") || strings.Contains(u.Path, "@") {
		return "(not a URL, not shown)"
	}
	credentials := ""
	if u.User != nil {
		name := url.User(u.User.Username()).String()
		_, hasPassword := u.User.Password()
		switch {
		case hasPassword:
			credentials = name + ":" + mask + "@"
		case strings.HasPrefix(u.Scheme, "postgres"):
			credentials = name + "@"
		default:
			credentials = mask + "@"
		}
	}
	query := u.Query()
	for name := range query {
		if name != "sslmode" {
			query[name] = []string{mask}
		}
	}
	shown := u.Scheme + "://" + credentials + u.Host + u.EscapedPath()
	if len(query) > 0 {
		shown += "?" + strings.ReplaceAll(query.Encode(), url.QueryEscape(mask), mask)
	}
	return shown
}
