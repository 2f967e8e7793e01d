package localfinn_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"dixie/finn"
	"dixie/finn/localfinn"
)

func ExampleNew() {
	server := localfinn.New(localfinn.Config{})
	defer func() { _ = server.Close(context.Background()) }()
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/sessions/demo/message",
		strings.NewReader(`{"text":"hello"}`)))
	fmt.Println(w.Code, w.Body)
	// Output: 200 {"response":"You said: hello","toolCalls":[]}
}

// shout is a responder of one's own.
type shout struct{}

func (shout) Model() string { return "shout" }

func (shout) Respond(_ context.Context, turn localfinn.Turn, emit func(finn.Event)) error {
	emit(finn.Event{Kind: finn.TextDelta, Text: strings.ToUpper(turn.Prompt)})
	return nil
}

func ExampleStart() {
	ctx := context.Background()
	local, err := localfinn.Start(localfinn.Config{Responder: shout{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = local.Close(ctx) }()
	client, err := finn.New(finn.Config{URL: local.URL()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	turn, err := client.Send(ctx, "demo", "hello")
	fmt.Println(turn.Response, err)
	// Output: HELLO <nil>
}

func ExampleEcho() {
	err := localfinn.Echo{}.Respond(context.Background(), localfinn.Turn{Prompt: "[[words 3]]"}, func(e finn.Event) {
		fmt.Printf("%q\n", e.Text)
	})
	fmt.Println(err)
	// Output:
	// "word1 "
	// "word2 "
	// "word3"
	// <nil>
}
