package localfinn_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"dixie/finn"
	"dixie/finn/localfinn"
)

func post(t *testing.T, server http.Handler, id, text string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost,
		"/api/sessions/"+id+"/message", strings.NewReader(`{"text":"`+text+`"}`)))
	return w
}

func get(t *testing.T, server http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	return w
}

func echo(ctx context.Context, prompt string) (answer string, events []finn.Event, err error) {
	var b strings.Builder
	err = localfinn.Echo{}.Respond(ctx, localfinn.Turn{Prompt: prompt}, func(e finn.Event) {
		b.WriteString(e.Text)
		events = append(events, e)
	})
	return b.String(), events, err
}

func TestEchoAnswers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", localfinn.MaxEcho) // Two bytes each.
	for prompt, want := range map[string]string{
		"hello brave world":              "You said: hello brave world",
		" kept\n as it\tis ":             "You said:  kept\n as it\tis ",
		"a [[sleep 0s]] b [[tool x]]":    "You said: a b",
		"[[sleep 0s]]":                   "Done.",
		"[[words 2]]":                    "word1 word2",
		"[[words 1]] [[words 2]] ignore": "word1 word2 word3",
		"[[words 0]]":                    "You said: [[words 0]]",
		"[[words many]] [[fail now]]":    "You said: [[words many]] [[fail now]]",
		"[[tool]] [[tool a b]]":          "You said: [[tool]] [[tool a b]]",
		"[[dance]] [[":                   "You said: [[dance]] [[",
		long:                             "You said: " + strings.Repeat("é", localfinn.MaxEcho/2) + "…",
	} {
		got, events, err := echo(t.Context(), prompt)
		if err != nil || got != want {
			t.Errorf("prompt %.40q: %.60q, %v, want %.60q", prompt, got, err, want)
		}
		for _, e := range events {
			if e.Kind == finn.TextDelta && len(strings.Fields(e.Text)) > 1 {
				t.Errorf("prompt %.40q: more than a word at once: %q", prompt, e.Text)
			}
		}
	}
}

func TestEchoBounds(t *testing.T) {
	t.Parallel()
	got, _, err := echo(t.Context(), strings.Repeat("[[words 9999]]", 32))
	if n := len(strings.Fields(got)); err != nil || n != localfinn.MaxWords {
		t.Errorf("%d words, %v", n, err)
	}
	got, events, err := echo(t.Context(), strings.Repeat("[[tool t]]", 40))
	if err != nil || !strings.Contains(got, "[[tool t]]") || len(events) > 100 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func TestEchoFails(t *testing.T) {
	t.Parallel()
	got, events, err := echo(t.Context(), "[[tool a]] [[fail]] [[tool b]] rest")
	if !errors.Is(err, localfinn.ErrFailOnDemand) || got != "" || len(events) != 2 {
		t.Errorf("%q, %d events, %v", got, len(events), err)
	}
}

func TestEchoWordDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var last time.Duration
		err := localfinn.Echo{WordDelay: time.Second}.Respond(t.Context(), localfinn.Turn{Prompt: "one two"},
			func(finn.Event) { last = time.Since(begun) })
		if err != nil || last != 4*time.Second { // "You said: one two".
			t.Errorf("last word after %v, %v", last, err)
		}
	})
}

func TestEchoStopsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := echo(ctx, "[[sleep 5m]]"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v", err)
		}
		if _, events, err := echo(ctx, "hello"); !errors.Is(err, context.DeadlineExceeded) || len(events) != 0 {
			t.Errorf("%d events, %v", len(events), err)
		}
	})
}

func FuzzEcho(f *testing.F) {
	for _, seed := range []string{"hello world", "[[words 3]]", "a [[tool x]] b", "[[", "[[fail]]", " \n", "é[[sleep 0s]]é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, prompt string) {
		if strings.Contains(prompt, "[[sleep") {
			return
		}
		got, _, err := echo(t.Context(), prompt)
		if errors.Is(err, localfinn.ErrFailOnDemand) {
			return
		}
		if err != nil || got == "" || len(got) > 120_000 {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if utf8.ValidString(prompt) && !utf8.ValidString(got) {
			t.Errorf("invalid UTF-8 out of valid")
		}
		if !strings.Contains(prompt, "[[") && len(prompt) <= localfinn.MaxEcho && strings.TrimSpace(prompt) != "" &&
			!strings.Contains(got, prompt) {
			t.Errorf("answer %q does not hold the prompt %q", got, prompt)
		}
	})
}
