package fleet_test

import (
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"dixie/fleet"
)

func TestPrompt(t *testing.T) {
	t.Parallel()
	task := fleet.Task{
		TaskType: "bug_fix", Repository: "acme/house", BaseBranch: "main", Branch: "fleet/x", PromptTokens: 8000,
		Description: "Fix the door", ContextOverrides: map[string]string{"wood": "oak", "deadline": "today"},
	}
	want := `You are a software agent. Do the task below in the given repository, on the work branch, and report what you did.

Task type: bug_fix
Repository: acme/house
Base branch: main
Work branch: fleet/x

Task:
Fix the door

Context deadline:
today

Context wood:
oak
`
	if diff := cmp.Diff(want, fleet.Prompt(task)); diff != "" {
		t.Errorf("prompt (-want +got):\n%s", diff)
	}
}

func TestPromptIsBounded(t *testing.T) {
	t.Parallel()
	for _, tokens := range []int{0, 1, 100, 8000} {
		got := fleet.Prompt(fleet.Task{PromptTokens: tokens, Description: strings.Repeat("ü", 40_000)})
		if limit := max(4*tokens, len("\n[cut]")); len(got) > limit || !strings.HasSuffix(got, "\n[cut]") || !utf8.ValidString(got) {
			t.Errorf("a prompt of %d tokens has %d bytes and ends in %q", tokens, len(got), got[max(0, len(got)-10):])
		}
	}
}

func splitLines(chunks ...string) []string {
	var lines []string
	w := fleet.NewLineWriter(func(line string) { lines = append(lines, line) })
	for _, chunk := range chunks {
		_, _ = io.WriteString(w, chunk)
	}
	_ = w.Close()
	return lines
}

func TestLineWriter(t *testing.T) {
	t.Parallel()
	full := strings.Repeat("x", fleet.MaxLogLine)
	for name, c := range map[string]struct{ in, want []string }{
		"nothing":                       {nil, nil},
		"no break at the end":           {[]string{"one"}, []string{"one"}},
		"break at the end":              {[]string{"one\n"}, []string{"one"}},
		"pieces":                        {[]string{"o", "ne\ntw", "o\n", "\n", "four"}, []string{"one", "two", "", "four"}},
		"carriage returns":              {[]string{"one\r\ntwo\r", "\n"}, []string{"one", "two"}},
		"exactly full":                  {[]string{full, "\n", "next"}, []string{full, "next"}},
		"exactly full at once":          {[]string{full + "\nnext"}, []string{full, "next"}},
		"too long":                      {[]string{full + "yz\n"}, []string{full, "yz"}},
		"too long in pieces":            {[]string{full, "y", "z"}, []string{full, "yz"}},
		"a character across the border": {[]string{full[1:] + "ü!"}, []string{full[1:], "ü!"}},
	} {
		if diff := cmp.Diff(c.want, splitLines(c.in...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// FuzzLineWriter checks that nothing is lost and that every line is bounded, however text is cut.
func FuzzLineWriter(f *testing.F) {
	f.Add("one\ntwo", 3)
	f.Add(strings.Repeat("ü", fleet.MaxLogLine), 1000)
	f.Add("\r\n\xff\n\n", 1)
	f.Fuzz(func(t *testing.T, text string, at int) {
		at = min(max(0, at), len(text))
		lines := splitLines(text[:at], text[at:])
		for _, line := range lines {
			if len(line) > fleet.MaxLogLine || strings.Contains(line, "\n") {
				t.Fatalf("a line of %d bytes", len(line))
			}
		}
		strip := func(s string) string { return strings.NewReplacer("\n", "", "\r", "").Replace(s) }
		if got, want := strip(strings.Join(lines, "")), strip(text); got != want {
			t.Fatalf("text was changed: %q, want %q", got, want)
		}
	})
}

func BenchmarkLineWriter(b *testing.B) {
	text := []byte(strings.Repeat("some words of an answer that streams\n", 100))
	w := fleet.NewLineWriter(func(string) {})
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = w.Write(text)
	}
}
