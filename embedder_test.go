package dixie_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dixie"
)

// hostModule makes a module of a host service that uses dixie as the README says, and runs its program.
func hostModule(t *testing.T, program []byte) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, content := range map[string][]byte{"main.go": program, "go.sum": sums} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out []byte
	for _, args := range [][]string{
		{"mod", "init", "example.com/host"},
		{"mod", "edit", "-go=1.26.0", "-require=dixie@v0.0.0", "-replace=dixie=" + here},
		{"build", "-mod=mod", "-o", "host", "."},
	} {
		command := exec.CommandContext(t.Context(), "go", args...)
		command.Dir = folder
		// What dixie needs is there already; the test does not go to the network.
		command.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOWORK=off")
		if out, err = command.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return filepath.Join(folder, "host")
}

// TestHostsImplementEveryInterface: what options ask for can be written outside of this module.
func TestHostsImplementEveryInterface(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile("testdata/embedder/main.go")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), hostModule(t, program)).CombinedOutput()
	if err != nil || string(out) != "assembled "+dixie.Version+"\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// TestReadmeEmbedding compiles the program that the README shows to embedders.
func TestReadmeEmbedding(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- embed -->\n```go\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("README.md has no program after <!-- embed -->")
	}
	hostModule(t, block[1])
}
