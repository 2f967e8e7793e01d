package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"dixie"
	"dixie/database"
	"dixie/internal/auth"
	"dixie/spansanitizer"
	"dixie/telemetry"
)

// reader collects problems and warnings, so that all are reported at once.
type reader struct {
	lookup   func(string) (string, bool)
	problems []error
	warnings []string
}

// value is what is set, blanks and all.
func (r *reader) value(name string) string {
	value, _ := r.lookup(name)
	return value
}

func (r *reader) text(name string) string { return strings.TrimSpace(r.value(name)) }

// environment is where the server runs, as it is written, and the variable that says so.
func (r *reader) environment() (environment dixie.Environment, name string) {
	for _, name := range []string{"DIXIE_ENV", "NODE_ENV"} {
		if word := r.text(name); word != "" {
			return dixie.Environment(word), name
		}
	}
	return dixie.Development, "DIXIE_ENV"
}

// integer falls back to the bound above it. On what is no number of 0 or more it falls back to the default in
// development and test, and is a problem in staging and production.
func (r *reader) integer(name string, standard, bound int) int {
	value := r.text(name)
	if value == "" {
		return standard
	}
	n, err := strconv.Atoi(value)
	switch {
	case n > bound: // Atoi returns the highest number for what is above that.
		r.warnf("%s is above %d; using %d", name, bound, bound)
		return bound
	case err == nil && n >= 0:
		return n
	}
	if environment, _ := r.environment(); environment == dixie.Staging || environment == dixie.Production {
		r.problemf("%s is not an integer of 0 or more", name)
	} else {
		r.warnf("%s is not an integer of 0 or more; using %d", name, standard)
	}
	return standard
}

func (r *reader) poolSize() int {
	n := r.integer("DATABASE_POOL_SIZE", database.DefaultSize, database.MaxSize)
	if n < minPoolSize {
		r.warnf("DATABASE_POOL_SIZE is below %d; using %d", minPoolSize, minPoolSize)
		return minPoolSize
	}
	return n
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

// adminKey is empty where there is none.
func (r *reader) adminKey() string {
	key := r.text("DIXIE_ADMIN_KEY")
	if err := auth.CheckAdminKey(key); err != nil {
		r.problemf("DIXIE_ADMIN_KEY is not usable: %w", err)
	}
	return key
}

// origins are the sites that people sign in from. One with a password in it is shown without.
func (r *reader) origins() []string {
	origins := list(r.text("DIXIE_CORS_ORIGINS"))
	for _, origin := range origins {
		u, err := auth.ParseOrigin(origin)
		switch {
		case err != nil && shownOrigin(origin) != origin:
			r.problemf("DIXIE_CORS_ORIGINS: %q is not scheme://host[:port]", shownOrigin(origin))
		case err != nil:
			r.problemf("DIXIE_CORS_ORIGINS: %w", err)
		case u.User != nil || !hasHost(u):
			r.problemf("DIXIE_CORS_ORIGINS: %q is not scheme://host[:port]", shownOrigin(origin))
		}
	}
	return origins
}

// shownOrigin is an origin as it may be shown.
func shownOrigin(origin string) string {
	if strings.ContainsAny(origin, "@?") {
		return maskedURL(origin)
	}
	return origin
}

func (r *reader) trustedProxies() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, item := range list(r.text("DIXIE_TRUSTED_PROXIES")) {
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			r.problemf("DIXIE_TRUSTED_PROXIES: %q is not a CIDR such as 10.0.0.0/8", item)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

// allowlist looks at the file that the server will read. One that is absent may come later.
func (r *reader) allowlist(path string) {
	if path == "" {
		return
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err == nil && !info.Mode().IsRegular():
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("it is a folder, or no regular file")}
	case err == nil:
		_, _, err = auth.ReadAllowlistFile(path)
	}
	if err != nil {
		r.problemf("the allowlist of DIXIE_ALLOWLIST_PATH: %w", withRemedy(err))
	}
}

// tracePolicy says what spans may carry, and how they hash.
func (r *reader) tracePolicy() *spansanitizer.Policy {
	policy, err := spansanitizer.New(spansanitizer.Config{HashKey: []byte(r.text("DIXIE_TRACE_HASH_KEY"))})
	if err != nil {
		r.problemf("DIXIE_TRACE_HASH_KEY: %w", err)
	}
	return policy
}

// tracing looks at the variables of OpenTelemetry.
func (r *reader) tracing(cfg telemetry.Config) {
	err := cfg.Check()
	if err == nil {
		return
	}
	for _, problem := range each(err) {
		// Each begins with its variable.
		r.problemf("%s", strings.TrimPrefix(problem.Error(), telemetry.ErrConfig.Error()+": "))
	}
}

func (r *reader) problemf(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

func (r *reader) warnf(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
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

// hasHost says whether a URL names a host, and a port that there is, if any.
func hasHost(u *url.URL) bool {
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	return u.Hostname() != ""
}

// url is one of the schemes, without a slash at its end.
func (r *reader) url(name string, schemes ...string) string {
	value := strings.TrimSuffix(r.text(name), "/")
	if value == "" {
		return ""
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme):
		r.problemf("%s must be a URL that begins with %s://", name, strings.Join(schemes, ":// or "))
	case strings.HasPrefix(u.Scheme, "postgres"):
		// pgx looks at the host: there may be several.
	case !hasHost(u):
		r.problemf("%s must name a host, and a port within 1 and %d if any", name, highestPort)
	}
	return value
}
