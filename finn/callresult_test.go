package finn_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/finn"
)

// TestCallsAreTold holds each outcome that a call can have.
func TestCallsAreTold(t *testing.T) {
	t.Parallel()
	var told []finn.CallOutcome
	b := &backend{do: works}
	b.client = newClient(t, finn.Config{
		URL: "http://finn.test", HTTPClient: &http.Client{Transport: b},
		OnCall: func(r finn.CallResult) {
			if r.Took < 0 || r.Took > time.Minute {
				t.Errorf("it took %v", r.Took)
			}
			told = append(told, r.Outcome)
		},
	})
	ctx := t.Context()
	if err := b.send(ctx); err != nil {
		t.Fatal(err)
	}
	b.set(status(http.StatusBadRequest, "{}"))
	_ = b.send(ctx)
	b.set(breaks)
	for range finn.FailureThreshold + 1 {
		_ = b.send(ctx)
	}
	want := []finn.CallOutcome{finn.CallAnswered, finn.CallAnswered}
	for range finn.FailureThreshold {
		want = append(want, finn.CallFailed)
	}
	if diff := cmp.Diff(append(want, finn.CallCircuitOpen), told); diff != "" {
		t.Error(diff)
	}
}

func TestHeldCallsAreTold(t *testing.T) {
	t.Parallel()
	var told []finn.CallOutcome
	b := &backend{do: status(http.StatusTooManyRequests, `{"code":"RATE_LIMITED","retry_after_seconds":30}`)}
	b.client = newClient(t, finn.Config{
		URL: "http://finn.test", HTTPClient: &http.Client{Transport: b},
		OnCall: func(r finn.CallResult) { told = append(told, r.Outcome) },
	})
	for range 2 {
		if err := b.send(t.Context()); err == nil {
			t.Error("no error")
		}
	}
	if diff := cmp.Diff([]finn.CallOutcome{finn.CallAnswered, finn.CallHeld}, told); diff != "" {
		t.Error(diff)
	}
}
