// Package processrunner runs fleet tasks as processes of the host: a configured command for each agent
// type, never a shell, the prompt on its standard input, its output as the task's log. Each attempt has
// a process group and a working directory of its own, a minimal environment, and ends with its whole
// group. A Runner is safe for concurrent use and owns nothing between attempts.
//
//	runner, err := processrunner.New(processrunner.Config{
//		Commands: map[string][]string{
//			fleet.ClaudeCode: {"claude", "--print"},
//			fleet.Codex:      {"codex", "exec", "-"},
//		},
//		PassEnv:     []string{"ANTHROPIC_API_KEY", "OPENAI_API_KEY"},
//		PullRequest: regexp.MustCompile(`^https://\S+/pull/(\d+)$`),
//	})
//	if err != nil {
//		return err
//	}
//	h, err := dixie.New(dixie.WithFleet(dixie.FleetConfig{Runner: runner, Workers: 4}))
//
// Workers bounds how many commands run at a time. A task whose agent type has no command is abandoned;
// give the fleet a catalog that routes to the others only.
//
// Two things are out of reach. A process that leaves its group on purpose (setsid) is not killed,
// though nobody waits for it; commands that run code nobody vouches for belong into a container, whose
// client is then the command. And when the host's own process is killed, its commands live on until
// they write to the pipe that nobody reads any more.
//
// The package is for Linux and macOS, and empty elsewhere: what it promises rests on process groups,
// which Windows does not have, and on being told that a process has ended before its number is free
// again. On macOS it has only been compiled.
package processrunner
