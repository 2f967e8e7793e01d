package finn_test

import (
	"net/http"
	"strings"
	"testing"

	"dixie/finn"
	"dixie/finn/localfinn"
)

func BenchmarkSend(b *testing.B) {
	client := local(b, localfinn.Config{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Send(b.Context(), sessionID, "hello brave new world"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	client := local(b, localfinn.Config{})
	session, err := client.CreateSession(b.Context(), finn.SessionOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Stream(b.Context(), session.ID, "hello brave new world", nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStreamLong(b *testing.B) {
	client := local(b, localfinn.Config{})
	session, err := client.CreateSession(b.Context(), finn.SessionOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Stream(b.Context(), session.ID, "[[words 1000]]", nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBreaker measures a call without a network: what the client adds.
func BenchmarkBreaker(b *testing.B) {
	for name, status := range map[string]int{"closed": http.StatusOK, "open": http.StatusBadGateway} {
		b.Run(name, func(b *testing.B) {
			client := newClient(b, finn.Config{URL: "http://finn.test", HTTPClient: &http.Client{
				Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					return answer(r, status, `{"response":"hello"}`)
				}),
			}})
			for range finn.FailureThreshold {
				_, _ = client.Send(b.Context(), sessionID, "hi")
			}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = client.Send(b.Context(), sessionID, "hi")
			}
		})
	}
}

func BenchmarkDecodeFrame(b *testing.B) {
	frame := []byte(`{"type":"text_delta","data":{"delta":"` + strings.Repeat("word ", 4) + `"}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		if _, _, err := finn.DecodeFrame(frame); err != nil {
			b.Fatal(err)
		}
	}
}
