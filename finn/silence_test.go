package finn_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"dixie/finn"
)

// TestSilenceIsTold: why there is no answer is an error once, and then a detail until there is one.
func TestSilenceIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		b := &backend{}
		b.client = newClient(t, finn.Config{
			URL: "http://finn.test", HTTPClient: &http.Client{Transport: b},
			Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		resets := func(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset") }
		hangs := func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		for _, do := range []func(*http.Request) (*http.Response, error){resets, resets, works, hangs, works} {
			b.set(do)
			_ = b.send(t.Context())
		}
		wantLines(t, log.String(),
			"ERROR finn_unreachable connection reset", "DEBUG finn_unreachable connection reset", "INFO finn_answers_again <nil>",
			"ERROR finn_unreachable no answer within the time limit", "INFO finn_answers_again <nil>")
	})
}

// wantLines compares level, message and error of each line of a log.
func wantLines(t *testing.T, log string, want ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(log) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(fields["level"], " ", fields["msg"], " ", fields["error"]))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
