package httpapi_test

import (
	"context"
	"log/slog"
	"testing"

	"dixie/finn"
	"dixie/internal/httpapi"
)

// TestWhoIsCutOffKnowsNothing: the answers of a collection whose caller left are not those of the next.
func TestWhoIsCutOffKnowsNothing(t *testing.T) {
	t.Parallel()
	client, err := finn.New(finn.Config{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	release := make(chan struct{})
	a := httpapi.New(httpapi.Config{Logger: slog.New(slog.DiscardHandler), Finn: client, Dependencies: []httpapi.Dependency{
		{Name: "own", Check: func(context.Context) error {
			<-release
			return nil
		}},
	}})
	gone, leave := context.WithCancel(t.Context())
	leave()
	if a.DependenciesUp(gone)["own"] {
		t.Error("well before it answered")
	}
	close(release)
	if !a.DependenciesUp(t.Context())["own"] {
		t.Error("away, as for the one before")
	}
}
