package openairesponder_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dixie/finn"
	"dixie/finn/localfinn"
	"dixie/finn/localfinn/openairesponder"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// chunk is one server-sent event of a streamed completion.
func chunk(delta, finish string) string {
	reason := "null"
	if finish != "" {
		reason = `"` + finish + `"`
	}
	return fmt.Sprintf(`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",`+
		`"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}`+"\n\n", delta, reason)
}

func word(text string) string { return chunk(`{"content":"`+text+`"}`, "") }

const done = "data: [DONE]\n\n"

// service is an OpenAI-compatible API in a function.
func service(t *testing.T, cfg openairesponder.Config, handler http.HandlerFunc) *openairesponder.Responder {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	cfg.BaseURL = server.URL + "/v1"
	cfg.HTTPClient = &http.Client{Transport: transport}
	if cfg.Model == "" {
		cfg.Model = "test-model"
	}
	responder, err := openairesponder.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return responder
}

func stream(events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, strings.Join(events, ""))
	}
}

func respond(ctx context.Context, r *openairesponder.Responder, turn localfinn.Turn) ([]string, error) {
	var words []string
	err := r.Respond(ctx, turn, func(e finn.Event) { words = append(words, e.Text) })
	return words, err
}

func TestConversationGoesOutAndTextComesBack(t *testing.T) {
	t.Setenv("OPENAI_ORG_ID", "must-not-be-read")
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	var got struct {
		Model    string    `json:"model"`
		Stream   bool      `json:"stream"`
		Messages []message `json:"messages"`
	}
	r := service(t, openairesponder.Config{APIKey: "sk-secret", System: "Be brief."},
		func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || r.URL.Path != "/v1/chat/completions" ||
				r.Header.Get("Authorization") != "Bearer sk-secret" || r.Header.Get("OpenAI-Organization") != "" {
				t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
			}
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				t.Error(err)
			}
			stream(": keep-alive\n\n", chunk(`{"role":"assistant","content":""}`, ""), word("It "), word("is "),
				word("four."), chunk(`{}`, "stop"), `data: {"id":"c1","choices":[],"usage":{"total_tokens":9}}`+"\n\n", done)(w, r)
		})
	words, err := respond(t.Context(), r, localfinn.Turn{SessionID: "s", Prompt: "and 2+2?", History: []localfinn.Message{
		{Role: localfinn.User, Text: "1+1?"}, {Role: localfinn.Assistant, Text: "2"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"It ", "is ", "four."}, words); diff != "" {
		t.Errorf("words (-want +got):\n%s", diff)
	}
	want := []message{{"system", "Be brief."}, {"user", "1+1?"}, {"assistant", "2"}, {"user", "and 2+2?"}}
	if diff := cmp.Diff(want, got.Messages); diff != "" || got.Model != "test-model" || !got.Stream {
		t.Errorf("model %q, stream %v, messages (-want +got):\n%s", got.Model, got.Stream, diff)
	}
	if r.Model() != "test-model" {
		t.Errorf("Model = %q", r.Model())
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		status  int
		words   int
	}{
		"wrong key": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":{"message":"Incorrect API key provided: sk-secret","type":"invalid_request_error"}}`)
		}, http.StatusUnauthorized, 0},
		"overloaded": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}, http.StatusServiceUnavailable, 0},
		"error in the stream":     {stream(word("so"), `data: {"error":{"message":"sk-secret"}}`+"\n\n"), 0, 1},
		"garbage in the stream":   {stream(word("so"), "data: {sk-secret\n\n"), 0, 1},
		"ends without a reason":   {stream(word("so"), word("far")), 0, 2},
		"nothing":                 {stream(), 0, 0},
		"connection is cut at it": {hangUp, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := service(t, openairesponder.Config{APIKey: "sk-secret", MaxRetries: -1}, tc.handler)
			words, err := respond(t.Context(), r, localfinn.Turn{Prompt: "my prompt"})
			var e *openairesponder.Error
			if !errors.As(err, &e) || e.Status != tc.status {
				t.Fatalf("error = %v, want status %d", err, tc.status)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "prompt") {
				t.Errorf("error %q tells too much", err)
			}
			if len(words) != tc.words {
				t.Errorf("words %q, want %d", words, tc.words)
			}
		})
	}
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}

func TestWordsComeAsTheyAreMadeAndCancelStops(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	r := service(t, openairesponder.Config{}, func(w http.ResponseWriter, req *http.Request) {
		stream(word("one"))(w, req)
		_ = http.NewResponseController(w).Flush()
		<-arrived
		_, _ = io.WriteString(w, word("two"))
		_ = http.NewResponseController(w).Flush()
		<-req.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	var words []string
	err := r.Respond(ctx, localfinn.Turn{Prompt: "hi"}, func(e finn.Event) {
		words = append(words, e.Text)
		if len(words) == 1 {
			close(arrived)
		} else {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(words) != 2 {
		t.Errorf("words %q, %v", words, err)
	}
}

func TestBehindALocalFinn(t *testing.T) {
	t.Parallel()
	r := service(t, openairesponder.Config{}, stream(word("real "), word("model"), chunk(`{}`, "stop"), done))
	local, err := localfinn.Start(localfinn.Config{Responder: r})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = local.Close(context.WithoutCancel(t.Context())) }()
	client, err := finn.New(finn.Config{URL: local.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	turn, err := client.Send(t.Context(), "s", "hi")
	if err != nil || turn.Response != "real model" {
		t.Errorf("turn %+v, %v", turn, err)
	}
}

func TestTurnOfAHangingServiceEnds(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(http.ResponseWriter){
		"before the answer begins": func(http.ResponseWriter) {},
		"after the first word": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, word("so"))
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := service(t, openairesponder.Config{}, func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body) // A server notices who has gone once it has read all.
				begin(w)
				<-req.Context().Done() // The server's Close waits for it.
			})
			local, err := localfinn.Start(localfinn.Config{Responder: r, TurnTimeout: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = local.Close(context.WithoutCancel(t.Context())) }()
			client, err := finn.New(finn.Config{URL: local.URL()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			session, err := client.CreateSession(t.Context(), finn.SessionOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Send(t.Context(), session.ID, "hi"); !errors.Is(err, finn.ErrTurnFailed) {
				t.Errorf("Send: %v", err)
			}
			if _, err := client.Stream(t.Context(), session.ID, "hi", nil); !errors.Is(err, finn.ErrTurnFailed) {
				t.Errorf("Stream: %v", err)
			}
		})
	}
}

func TestNewChecksItsConfiguration(t *testing.T) {
	t.Parallel()
	for _, cfg := range []openairesponder.Config{
		{}, {Model: "m", BaseURL: "127.0.0.1:80"}, {Model: "m", BaseURL: "ftp://x"},
		{Model: "m", BaseURL: "http://user:sk-secret@x"}, {Model: "m", BaseURL: "http://\x7f"},
	} {
		_, err := openairesponder.New(cfg)
		if !errors.Is(err, openairesponder.ErrConfig) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := openairesponder.New(openairesponder.Config{Model: "m"}); err != nil {
		t.Error(err)
	}
}
