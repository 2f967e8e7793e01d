package migrate_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/migrate"
)

// TestTenProcesses is T1.3: ten processes start at once on an empty database; one migrates, all succeed.
func TestTenProcesses(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	const processes = 10
	var wg sync.WaitGroup
	var mu sync.Mutex
	runs := map[int]int{}
	for range processes {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), childURL+"="+url)
			var trouble strings.Builder
			cmd.Stderr = &trouble
			out, err := cmd.Output()
			steps, convErr := strconv.Atoi(strings.TrimSpace(string(out)))
			if err != nil || convErr != nil {
				t.Errorf("%v %v: %s", err, convErr, trouble.String())
			}
			mu.Lock()
			defer mu.Unlock()
			runs[steps]++
		})
	}
	wg.Wait()
	all, err := newMigrator(t, url, migrate.Config{}).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int]int{0: processes - 1, len(all): 1}, runs); diff != "" {
		t.Errorf("runs by their number of steps: %s", diff)
	}
}
