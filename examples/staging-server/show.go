package main

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// showConfig lists the variables and what they amount to here, without secrets. Its error is what keeps the
// server from starting with them.
func showConfig(lookup func(string) (string, bool), out io.Writer) error {
	c, problems := readConfig(lookup)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0) //nolint:mnd // Columns two blanks apart.
	_, _ = fmt.Fprintln(w, "VARIABLE\tTYPE\tDEFAULT\tWHAT")
	for _, v := range variables() {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", v.name, v.kind, v.standard, v.text)
	}
	_, _ = fmt.Fprintln(w, "\nIn effect here\nVARIABLE\tFROM\tVALUE")
	r := newReader(lookup)
	effective := c.effective()
	for _, v := range variables() {
		value, from := r.text(v.name), "set"
		if direct, _ := lookup(v.name); value != "" && direct == "" {
			from = "file"
		}
		if value == "" {
			value, from = "-", "default"
		}
		shown := masked(v, value)
		if from == "default" {
			shown = v.standard
			if !c.relaxed() && strings.HasSuffix(shown, " in development") {
				shown = "not set"
			}
		}
		if result, ok := effective[v.name]; ok {
			shown = result
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", v.name, from, shown)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the configuration: %w", err)
	}
	for _, warning := range c.warnings {
		_, _ = fmt.Fprintln(out, "\nwarning:", warning)
	}
	if problems != nil {
		return fmt.Errorf("the configuration is not usable:\n%w", problems)
	}
	_, _ = fmt.Fprintln(out, "\nThe configuration is usable.")
	return nil
}

func shownOrigins(origins []string) string {
	shown := make([]string, len(origins))
	for i, origin := range origins {
		shown[i] = shownOrigin(origin)
	}
	return strings.Join(shown, ",")
}

// effective is what the server makes of a variable, where that is not just its text or its default.
func (c *config) effective() map[string]string {
	values := map[string]string{
		"DIXIE_ENV":                 string(c.environment),
		"DIXIE_PORT":                strconv.Itoa(c.port),
		"DIXIE_HOST":                c.host,
		"LOG_LEVEL":                 strings.ToLower(c.level.String()),
		"DATABASE_POOL_SIZE":        strconv.Itoa(c.poolSize),
		"DIXIE_TASK_RETENTION_DAYS": strconv.Itoa(int(c.taskRetention / day)),
		"DIXIE_RATE_LIMIT_RPM":      strconv.Itoa(c.ratePerMinute),
		"DIXIE_RATE_LIMIT_BACKEND":  "memory",
		"DIXIE_CONVICTION_TIER_TTL": strconv.Itoa(int(c.tierTTL / time.Second)),
		"DIXIE_AUTONOMOUS_BUDGET":   strconv.FormatInt(c.budget, 10),
		"DIXIE_ALLOWLIST_PATH":      c.allowlistPath,
		"DIXIE_CORS_ORIGINS":        shownOrigins(c.origins),
	}
	if c.host == "" {
		values["DIXIE_HOST"] = "all addresses"
	}
	if c.sharedLimits {
		values["DIXIE_RATE_LIMIT_BACKEND"] = "redis"
	}
	if c.allowlistPath == "" {
		values["DIXIE_ALLOWLIST_PATH"] = "none: every wallet is admitted"
	}
	if len(c.origins) == 0 {
		of := *c
		of.listensOn(&net.TCPAddr{Port: c.port})
		values["DIXIE_CORS_ORIGINS"] = strings.Join(of.origins, ",")
	}
	for name, value := range c.reserved {
		values[name] = strconv.Itoa(value)
	}
	return values
}
