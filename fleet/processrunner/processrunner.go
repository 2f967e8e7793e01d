//go:build linux || darwin

package processrunner

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"dixie/fleet"
)

const (
	// DefaultGrace is how long a group has between the polite signal and the other one.
	DefaultGrace = 5 * time.Second
	// DefaultMaxOutput is how much of an attempt's output reaches its log.
	DefaultMaxOutput = 16 << 20
)

// Config says what to run.
type Config struct {
	// Commands has the argument vector for each agent type. The first element is an absolute path, or
	// a name that is looked up in the host's PATH at each attempt; nothing of a task becomes an
	// argument. Required.
	Commands map[string][]string
	// PassEnv names variables of the host that the commands get too; PATH is always among them. The
	// task's own come as FLEET_TASK_ID, FLEET_TASK_TYPE, FLEET_ATTEMPT, FLEET_REPOSITORY,
	// FLEET_BASE_BRANCH, FLEET_BRANCH and FLEET_MODEL; HOME and TMPDIR are the working directory unless
	// they are named here. Nothing else of the host's environment is passed on.
	PassEnv []string
	// Root is where the working directories are made, which are removed after each attempt; empty is
	// the system's directory for temporary files. How much a command writes there is not bounded.
	Root string
	// Grace is how long a command has to end by itself after SIGTERM; 0 is [DefaultGrace].
	Grace time.Duration
	// MaxOutput is how many bytes of output reach the log in one attempt, line breaks included. What
	// follows is searched, for PullRequest and for the words of a memory that has run out, but not
	// kept; 0 is [DefaultMaxOutput].
	MaxOutput int
	// PullRequest finds the number of a pull request in a line of output, as its first group; nil
	// finds none. The first hit counts.
	PullRequest *regexp.Regexp
}

// Runner is a [fleet.Runner] of processes. Make one with [New].
type Runner struct {
	cfg         Config
	environment []string
}

var _ fleet.Runner = (*Runner)(nil)

// New checks the configuration, reports all that is wrong with it, and reads the host's environment,
// once. Whether the commands exist shows when they are run.
func New(cfg Config) (*Runner, error) {
	// The commands are told their directory and work in it: there, a relative path would mean another.
	root, err := filepath.Abs(cmp.Or(cfg.Root, os.TempDir()))
	if err != nil {
		err = fmt.Errorf("processrunner: Root: %w", err)
	}
	if err := errors.Join(err, cfg.validate()); err != nil {
		return nil, err
	}
	cfg.Root = root
	cfg.Grace = cmp.Or(cfg.Grace, DefaultGrace)
	cfg.MaxOutput = cmp.Or(cfg.MaxOutput, DefaultMaxOutput)
	commands := make(map[string][]string, len(cfg.Commands))
	for agent, argv := range cfg.Commands {
		commands[agent] = slices.Clone(argv)
	}
	cfg.Commands = commands
	r := &Runner{cfg: cfg}
	for _, name := range append([]string{"PATH"}, cfg.PassEnv...) {
		if value, ok := os.LookupEnv(name); ok {
			r.environment = append(r.environment, name+"="+value)
		}
	}
	return r, nil
}

func (cfg Config) validate() error {
	var problems []error
	if len(cfg.Commands) == 0 {
		problems = append(problems, errors.New("processrunner: there is no command"))
	}
	for agent, argv := range cfg.Commands {
		switch {
		case len(argv) == 0 || argv[0] == "":
			problems = append(problems, fmt.Errorf("processrunner: the command for %q is empty", agent))
		case strings.Contains(argv[0], "/") && !filepath.IsAbs(argv[0]):
			// It would be looked for in the attempt's directory, which is empty.
			problems = append(problems, fmt.Errorf("processrunner: the command for %q is neither a name nor an absolute path", agent))
		}
	}
	for _, name := range cfg.PassEnv {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			problems = append(problems, fmt.Errorf("processrunner: PassEnv has %q, which is not the name of a variable", name))
		}
	}
	if cfg.PullRequest != nil && cfg.PullRequest.NumSubexp() < 1 {
		problems = append(problems, errors.New("processrunner: PullRequest has no group"))
	}
	if cfg.Grace < 0 {
		problems = append(problems, errors.New("processrunner: Grace is negative"))
	}
	if cfg.MaxOutput < 0 {
		problems = append(problems, errors.New("processrunner: MaxOutput is negative"))
	}
	return errors.Join(problems...)
}
