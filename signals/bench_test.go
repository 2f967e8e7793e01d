package signals_test

import (
	"testing"
	"time"

	"dixie/signals"
)

// away is a publisher whose NATS is away: its buffer is full after a moment, and what is measured is the
// way of a signal to the buffer, for which it makes no difference whether there is room.
func away(b *testing.B) *signals.Publisher {
	b.Helper()
	p := open(b, "nats://127.0.0.1:1")
	b.Cleanup(func() { _ = p.Close(b.Context()) })
	b.ReportAllocs()
	return p
}

func BenchmarkInteraction(b *testing.B) {
	p, i := away(b), turn("session-1")
	for b.Loop() {
		p.Interaction(b.Context(), i)
	}
}

func BenchmarkOfferFleet(b *testing.B) {
	p, e := away(b), spawned()
	for b.Loop() {
		p.OfferFleet(b.Context(), e)
	}
}

// BenchmarkFleet waits for the acknowledgement of a server in this process.
func BenchmarkFleet(b *testing.B) {
	nats := startNATS(b)
	p, e := connect(b, nats.ClientURL()), spawned()
	ready(b, p)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Fleet(b.Context(), "", e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDrain says how many signals leave the buffer in a second.
func BenchmarkDrain(b *testing.B) {
	nats := startNATS(b)
	p, i := connect(b, nats.ClientURL()), turn("session-1")
	ready(b, p)
	const batch = 1000
	began := time.Now()
	for b.Loop() {
		for range batch {
			p.Interaction(b.Context(), i)
		}
		eventually(b, "published", func() bool { return p.Stats().Buffered == 0 })
	}
	b.ReportMetric(float64(b.N*batch)/time.Since(began).Seconds(), "signals/s")
}
