package signals_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"dixie/signals"
)

// streamConfig is that of the stream as the server has it.
func streamConfig(t *testing.T, js jetstream.JetStream) jetstream.StreamConfig {
	t.Helper()
	stream, err := js.Stream(patiently(t), signals.Stream)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config
}

func foreign(t *testing.T, js jetstream.JetStream, cfg jetstream.StreamConfig) {
	t.Helper()
	if _, err := js.CreateStream(patiently(t), cfg); err != nil {
		t.Fatal(err)
	}
}

// TestStreamIsCreated has several publishers find no stream at once.
func TestStreamIsCreated(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	var log journal
	publishers := make([]*signals.Publisher, 4)
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			p, err := signals.Connect(signals.Config{URL: nats.ClientURL(), Logger: log.logger()})
			if err != nil {
				t.Errorf("Connect: %v", err)
			}
			publishers[i] = p
		})
	}
	wg.Wait()
	for _, p := range publishers {
		ready(t, p)
		p.Interaction(t.Context(), turn("s"))
		closeWell(t, p)
	}
	if got := sessions(t, nats.ClientURL()); len(got) != len(publishers) {
		t.Errorf("stored %v", got)
	}
	got := streamConfig(t, admin(t, nats.ClientURL()))
	want := jetstream.StreamConfig{
		Name: "DIXIE_SIGNALS", Subjects: []string{"dixie.signal.>", "dixie.fleet.>"}, MaxMsgs: 100_000, MaxAge: 7 * 24 * time.Hour,
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Replicas: 1, Duplicates: 10 * time.Minute,
	}
	if got.Name != want.Name || !cmp.Equal(got.Subjects, want.Subjects) || got.MaxMsgs != want.MaxMsgs || got.MaxAge != want.MaxAge ||
		got.Storage != want.Storage || got.Retention != want.Retention || got.Replicas != want.Replicas || got.Duplicates != want.Duplicates {
		t.Errorf("stream is %+v", got)
	}
	for _, event := range []string{"signals_interrupted", "signals_stream_lacks_subjects"} {
		if lines := log.lines(event); len(lines) > 0 {
			t.Errorf("logged %v", lines)
		}
	}
}

// TestForeignStream has a stream that somebody else made, with more or less of our subjects.
func TestForeignStream(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		subjects      []string
		warns, stores bool
	}{
		{"all", []string{"other", "dixie.>"}, false, true},
		{"by parts", []string{"dixie.*.>"}, false, true},
		{"one", []string{"dixie.signal.interaction", "dixie.fleet.*"}, true, true},
		{"fleet only", []string{"dixie.fleet.>"}, true, false},
		{"none", []string{"other.>"}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			nats := startNATS(t)
			js := admin(t, nats.ClientURL())
			foreign(t, js, jetstream.StreamConfig{Name: signals.Stream, Subjects: c.subjects, MaxMsgs: 7})
			before := streamConfig(t, js)
			var log journal
			p := open(t, nats.ClientURL(), func(cfg *signals.Config) { cfg.Logger = log.logger() })
			ready(t, p)
			p.Interaction(t.Context(), turn("s-1"))
			p.Interaction(t.Context(), turn("s-2"))
			closeWell(t, p)
			got := p.Stats()
			want := signals.Stats{Offered: 2, Published: 2}
			if !c.stores {
				want = signals.Stats{Offered: 2, Failed: 2}
			}
			if got != want {
				t.Errorf("Stats = %+v, want %+v", got, want)
			}
			if lines := log.lines("signals_stream_lacks_subjects"); (len(lines) == 1) != c.warns || len(lines) > 1 {
				t.Errorf("warned: %v", lines)
			}
			if diff := cmp.Diff(before, streamConfig(t, js)); diff != "" {
				t.Errorf("the stream was changed: %s", diff)
			}
		})
	}
}

// TestStreamDeleted has somebody delete the stream between two signals.
func TestStreamDeleted(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	js := admin(t, nats.ClientURL())
	p := connect(t, nats.ClientURL())
	remove := func() {
		ready(t, p)
		if err := js.DeleteStream(patiently(t), signals.Stream); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	p.Interaction(t.Context(), turn("s-1"))
	eventually(t, "published", func() bool { return p.Stats().Published == 1 })
	if got := sessions(t, nats.ClientURL()); !cmp.Equal(got, []string{"s-1"}) {
		t.Errorf("stored %v", got)
	}
	remove()
	if err := p.Fleet(t.Context(), "id-1", spawned()); err != nil {
		t.Errorf("Fleet: %v", err)
	}
	// The health report notices it, and without a signal it is there again.
	remove()
	if err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("Check = %v", err)
	}
	ready(t, p)
}

// TestWithoutJetStream has a server that stores nothing.
func TestWithoutJetStream(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, func(o *server.Options) { o.JetStream = false })
	var log journal
	p := open(t, nats.ClientURL(), func(cfg *signals.Config) { cfg.Logger = log.logger() })
	eventually(t, "the outage", func() bool { return len(log.lines("signals_interrupted")) == 1 })
	p.Interaction(t.Context(), turn("s-1"))
	if err := p.Check(t.Context()); err == nil {
		t.Error("Check = nil")
	}
	if err := p.Fleet(t.Context(), "id-1", spawned()); err == nil || isRefused(err) {
		t.Errorf("Fleet = %v", err)
	}
	if got := closeSoon(t, p, patience); got == nil || !strings.Contains(got.Error(), "1 buffered signals are lost") {
		t.Errorf("Close = %v", got)
	}
	if got, want := p.Stats(), (signals.Stats{Offered: 1, Lost: 1, FleetFailed: 1}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}
