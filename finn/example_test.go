package finn_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"dixie/finn"
	"dixie/finn/localfinn"
)

func ExampleClient_Stream() {
	ctx := context.Background()
	local, err := localfinn.Start(localfinn.Config{Token: "token"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = local.Close(ctx) }()
	client, err := finn.New(finn.Config{URL: local.URL(), Token: "token"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()

	session, err := client.CreateSession(ctx, finn.SessionOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx = finn.ContextWithCaller(ctx, finn.Caller{RequestID: "r-1", Address: "203.0.113.9"})
	turn, err := client.Stream(ctx, session.ID, "hello [[tool search]]", func(e finn.Event) error {
		fmt.Printf("%s %s%q\n", e.Kind, e.Tool, e.Text)
		return nil
	})
	fmt.Println(turn.Response, err)
	// Output:
	// tool_start search""
	// tool_end search""
	// text_delta "You "
	// text_delta "said: "
	// text_delta "hello"
	// You said: hello <nil>
}

func ExampleClient_circuitOpen() {
	broken := roundTrip(func(r *http.Request) (*http.Response, error) { return answer(r, http.StatusBadGateway, "") })
	client, err := finn.New(finn.Config{
		URL: "http://finn.example", HTTPClient: &http.Client{Transport: broken},
		OnCircuitChange: func(c finn.CircuitChange) { fmt.Println(c.From, "->", c.To, "after", c.ConsecutiveFailures) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	for range finn.FailureThreshold {
		_, err = client.Send(context.Background(), "s", "hi")
	}
	fmt.Println(err)
	_, err = client.Send(context.Background(), "s", "hi")
	var e *finn.Error
	if errors.Is(err, finn.ErrCircuitOpen) && errors.As(err, &e) {
		fmt.Println(e.Code, e.RetryAfter > 5*time.Second)
	}
	// Output:
	// closed -> open after 5
	// finn: bad answer (HTTP 502)
	// CIRCUIT_OPEN true
}
