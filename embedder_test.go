package dixie_test

import (
	"bufio"
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dixie"
	"dixie/internal/testserver"
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

// TestDocNamesEveryPackage holds the list of sub-packages to what hosts can import.
func TestDocNamesEveryPackage(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.FieldsFunc(string(doc), func(r rune) bool { return strings.ContainsRune(" \n,;.", r) })
	sources, err := filepath.Glob("[a-z]*/*.go")
	for _, deeper := range []string{"[a-z]*/*/*.go", "[a-z]*/*/*/*.go"} {
		more, failed := filepath.Glob(deeper)
		sources, err = append(sources, more...), errors.Join(err, failed)
	}
	if err != nil || len(sources) == 0 {
		t.Fatal(len(sources), err)
	}
	missing := map[string]bool{}
	for _, source := range sources {
		folder := filepath.ToSlash(filepath.Dir(source))
		switch top, _, _ := strings.Cut(folder, "/"); top {
		case "internal", "examples", "e2e", "deploy", "testdata":
		default:
			missing[folder] = !slices.Contains(words, folder)
		}
	}
	maps.DeleteFunc(missing, func(_ string, is bool) bool { return !is })
	if len(missing) > 0 {
		t.Errorf("doc.go does not name %v", slices.Sorted(maps.Keys(missing)))
	}
}

// readmeProgram is the program that the README shows to embedders.
func readmeProgram(t *testing.T) []byte {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- embed -->\n```go\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("README.md has no program after <!-- embed -->")
	}
	return block[1]
}

// middleware is a host's own: after the Handler has answered it is at work until standard input ends.
const middleware = `
func late(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if r.URL.Path == "/livez" {
			println("answered")
			_, _ = syscall.Read(0, make([]byte, 1))
		}
	})
}
`

// TestProgramsStopGracefully compiles and runs what embedders are shown, with middleware of their own around the
// Handler, and tells it to stop when the Handler is done with a request and the middleware is not.
func TestProgramsStopGracefully(t *testing.T) {
	t.Parallel()
	embedded, err := os.ReadFile("examples/embedded/main.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range map[string][]byte{"README": readmeProgram(t), "examples/embedded": embedded} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			text := strings.ReplaceAll(string(program), "127.0.0.1:3001", address)
			text = regexp.MustCompile(`Handler: (\w+),`).ReplaceAllString(text, "Handler: late($1),") + middleware
			binary := hostModule(t, []byte(text))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			host := exec.CommandContext(ctx, binary)
			output, err := host.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			work, err := host.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := host.Start(); err != nil {
				t.Fatal(err)
			}
			answer := make(chan int, 1)
			go func() { answer <- livez(t, address) }()
			var said strings.Builder
			for lines := bufio.NewScanner(output); lines.Scan(); {
				said.WriteString(lines.Text() + "\n")
				if lines.Text() == "answered" {
					if err := host.Process.Signal(syscall.SIGTERM); err != nil {
						t.Error(err)
					}
					awaitRefusals(ctx, address)
					_ = work.Close()
				}
			}
			if err := host.Wait(); err != nil {
				t.Errorf("%v, after it said:\n%s", err, said.String())
			}
			if status := <-answer; status != http.StatusOK {
				t.Errorf("the running request was answered with %d; it said:\n%s", status, said.String())
			}
		})
	}
}

// awaitRefusals waits until nobody listens any more, and looks on for a while: a program that does not wait for its answers
// is gone by then.
func awaitRefusals(ctx context.Context, address string) {
	const inARow = 20
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for refused := 0; refused < inARow && ctx.Err() == nil; refused++ {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			_ = conn.Close()
			refused = 0
		}
		<-tick.C
	}
}

// freeAddress is one that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// livez asks until somebody listens, and returns the status of the answer, or 0.
func livez(t *testing.T, address string) int {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/livez", nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
			return response.StatusCode
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
			return 0
		}
		<-tick.C
	}
	t.Error("nobody listens")
	return 0
}
