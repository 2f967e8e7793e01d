package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"dixie/database"
	"dixie/migrate"
	"dixie/reputation"
	"dixie/reputation/postgres"
)

// interruptible ends with SIGINT or SIGTERM, so that an operator can stop what takes long.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
}

// databaseURL is where the maintenance commands work.
func databaseURL(lookup func(string) (string, bool)) (string, error) {
	r := newReader(lookup)
	url := r.database()
	if url == "" {
		r.problemf("DATABASE_URL is not set")
	}
	return url, errors.Join(r.problems...)
}

// runMigrations is the command migrate: up, down N or status.
func runMigrations(lookup func(string) (string, bool), args []string, out io.Writer) error {
	url, err := databaseURL(lookup)
	if err != nil {
		return err
	}
	m, err := migrate.New(url, migrate.Config{})
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	ctx, stop := interruptible()
	defer stop()
	var result migrate.Result
	switch command := strings.Join(args, " "); {
	case command == "up":
		result, err = m.Up(ctx)
	case command == "status":
		return showMigrations(ctx, m, out)
	case len(args) == 2 && args[0] == "down":
		n, convErr := strconv.Atoi(args[1])
		if convErr != nil || n < 1 {
			return fmt.Errorf("migrate down takes the number of migrations to take back, not %q", args[1])
		}
		result, err = m.Down(ctx, n)
	default:
		return errors.New("migrate takes up, down N or status")
	}
	for _, step := range result.Steps {
		_, _ = fmt.Fprintf(out, "%s %s %d %s (%s)\n", args[0], step.Source, step.Version, step.Name, step.Duration.Round(time.Millisecond))
	}
	if err == nil && len(result.Steps) == 0 {
		_, _ = fmt.Fprintln(out, "nothing to do")
	}
	return ofDatabase(err)
}

// ofDatabase says of which database an error is, and what can be done.
func ofDatabase(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the database of DATABASE_URL: %w", withRemedy(err))
}

func showMigrations(ctx context.Context, m *migrate.Migrator, out io.Writer) error {
	all, err := m.Status(ctx)
	if err != nil {
		return ofDatabase(err)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0) //nolint:mnd // Columns two blanks apart.
	_, _ = fmt.Fprintln(w, "SOURCE\tVERSION\tNAME\tAPPLIED")
	for _, one := range all {
		applied := "no"
		switch {
		case one.Applied && one.AppliedAt.IsZero():
			applied = "yes"
		case one.Applied:
			applied = one.AppliedAt.UTC().Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", one.Source, one.Version, one.Name, applied)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print migrations: %w", err)
	}
	return nil
}

// maintainReputation is the command reputation: verify compares what is stored with what follows from the
// log of events, rebuild replaces it.
func maintainReputation(lookup func(string) (string, bool), args []string, out io.Writer) error {
	url, err := databaseURL(lookup)
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	pool, err := database.Open(ctx, database.Config{URL: url, Size: 2, Application: "dixie-maintenance", StatementTimeout: -1})
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	defer pool.Close()
	store := postgres.New(pool)
	switch strings.Join(args, " ") {
	case "verify":
		report, err := reputation.Verify(ctx, store)
		if err != nil {
			return ofDatabase(err)
		}
		_, _ = fmt.Fprintf(out, "%d events, %d agents\n", report.Events, report.Agents)
		if !report.OK() {
			return fmt.Errorf("does not follow from the events: %d agents (%s), population: %t; see reputation rebuild",
				len(report.Differing), strings.Join(report.Differing[:min(10, len(report.Differing))], ", "), !report.Population)
		}
		_, _ = fmt.Fprintln(out, "everything that is stored follows from the events, bit for bit")
		return nil
	case "rebuild":
		agents, err := store.Rebuild(ctx)
		if err != nil {
			return ofDatabase(err)
		}
		_, _ = fmt.Fprintf(out, "%d agents computed anew\n", agents)
		return nil
	default:
		return errors.New("reputation takes verify or rebuild")
	}
}
