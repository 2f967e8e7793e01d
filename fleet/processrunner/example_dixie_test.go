//go:build linux || darwin

package processrunner_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"

	"dixie"
	"dixie/fleet"
	"dixie/fleet/processrunner"
)

// The tasks of a Handler become processes.
func Example() {
	runner, err := processrunner.New(processrunner.Config{
		Commands: map[string][]string{
			fleet.ClaudeCode: {"claude", "--print"},
			fleet.Codex:      {"codex", "exec", "-"},
			fleet.Gemini:     {"gemini"},
		},
		PassEnv:     []string{"ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"},
		PullRequest: regexp.MustCompile(`^https://\S+/pull/(\d+)$`),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h, err := dixie.New(
		dixie.WithEnvironment(dixie.Development),
		dixie.WithFleet(dixie.FleetConfig{Runner: runner, Workers: 4}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = h.Shutdown(context.Background()) }()

	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/livez", http.NoBody))
	fmt.Println(answer.Code)
	// Output: 200
}
