package proxybench_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

//nolint:gochecknoglobals // Flags are parsed before a test runs.
var (
	streams  = flag.Int("streams", 300, "number of streamed turns that TestStreamedAnswersAreWhole runs")
	profiles = flag.String("profiles", "", "folder in which each process leaves its profiles")
)

// TestMain is also the beginning of every process that the tests start.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		// The parent learns of a failure from the end of standard output.
		if err := play(role); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
