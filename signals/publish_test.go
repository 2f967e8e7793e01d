package signals_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"dixie/fleet"
	"dixie/signals"
)

// TestFleetOnce publishes the same event again and again, as fleet/postgres may.
func TestFleetOnce(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	p := connect(t, nats.ClientURL())
	ready(t, p)
	for _, id := range []string{"task-1/1", "task-1/1", "task-1/2", "task-1/1", "", ""} {
		if err := p.Fleet(t.Context(), id, spawned()); err != nil {
			t.Errorf("Fleet(%q): %v", id, err)
		}
	}
	var ids []string
	for _, m := range stored(t, nats.ClientURL()) {
		ids = append(ids, m.id)
	}
	if want := []string{"task-1/1", "task-1/2", "", ""}; !cmp.Equal(ids, want) {
		t.Errorf("stored %q, want %q", ids, want)
	}
	if got, want := p.Stats(), (signals.Stats{FleetPublished: 6}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

func TestFleetErrors(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	p := open(t, nats.ClientURL())
	ready(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Fleet(ctx, "id-1", spawned()); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v", err)
	}
	nats.stop()
	eventually(t, "disconnected", func() bool { return errors.Is(p.Check(t.Context()), signals.ErrDisconnected) })
	began := time.Now()
	if err := p.Fleet(t.Context(), "id-1", spawned()); !errors.Is(err, signals.ErrDisconnected) {
		t.Errorf("without NATS: %v", err)
	}
	if took := time.Since(began); took > signals.DefaultAckWait/2 {
		t.Errorf("without NATS it took %v", took)
	}
	closeWell(t, p)
	if err := p.Fleet(t.Context(), "id-1", spawned()); !errors.Is(err, signals.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := p.Check(t.Context()); !errors.Is(err, signals.ErrDisconnected) {
		t.Errorf("Check after Close: %v", err)
	}
}

// TestRefused has a server take most signals, but not some, which must not hold up the others.
func TestRefused(t *testing.T) {
	t.Parallel()
	long := spawned()
	long.Branch = strings.Repeat("b", 5000)
	for _, c := range []struct {
		name   string
		adjust func(*server.Options)
		stream func(*jetstream.StreamConfig)
		poison fleet.Event
		reason string
	}{
		{
			"larger than the server takes", func(o *server.Options) { o.MaxPayload = 4000 },
			func(*jetstream.StreamConfig) {}, long, "maximum payload exceeded",
		},
		{
			"larger than the stream takes", func(*server.Options) {},
			func(s *jetstream.StreamConfig) { s.MaxMsgSize = 4000 }, long, "message size exceeds maximum",
		},
		{
			"not permitted", func(o *server.Options) {
				o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
					Publish: &server.SubjectPermission{Deny: []string{"dixie.fleet.agent_spawned"}},
				}}}
			}, func(*jetstream.StreamConfig) {}, spawned(), "Permissions Violation",
		},
		{
			"not among the stream's subjects", func(*server.Options) {},
			func(s *jetstream.StreamConfig) { s.Subjects = s.Subjects[:1] }, spawned(), "does not take dixie.fleet.agent_spawned",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			nats := startNATS(t, c.adjust)
			url := fmt.Sprintf("nats://u:p@%s", nats.Addr())
			cfg := jetstream.StreamConfig{Name: signals.Stream, Subjects: []string{"dixie.signal.>", "dixie.fleet.>"}}
			c.stream(&cfg)
			foreign(t, admin(t, url), cfg)
			var log journal
			p := open(t, url, func(cfg *signals.Config) { cfg.Logger = log.logger() })
			ready(t, p)
			if err := p.Fleet(t.Context(), "id-1", c.poison); !isRefused(err) {
				t.Errorf("Fleet = %v", err)
			}
			for i := range 3 {
				p.Interaction(t.Context(), turn(fmt.Sprintf("s-%d", i)))
				p.OfferFleet(t.Context(), c.poison)
			}
			closeWell(t, p)
			if got, want := p.Stats(), (signals.Stats{Offered: 6, Published: 3, Failed: 3, FleetFailed: 1}); got != want {
				t.Errorf("Stats = %+v, want %+v", got, want)
			}
			if got, want := sessions(t, url), []string{"s-0", "s-1", "s-2"}; !cmp.Equal(got, want) {
				t.Errorf("stored %v, want %v", got, want)
			}
			// One line at the first of them, and one for the rest at the end.
			lines := log.lines("signals_lost")
			if len(lines) == 0 || len(lines) > 2 || !strings.Contains(lines[0], c.reason) {
				t.Errorf("logged %v", lines)
			}
		})
	}
}

// TestPublishOnly has a client that may publish, and not look at the stream, which its owner made.
func TestPublishOnly(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "owner", Password: "p"},
			{Username: "u", Password: "p", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{"dixie.>"}},
			}},
		}
	})
	owner := fmt.Sprintf("nats://owner:p@%s", nats.Addr())
	foreign(t, admin(t, owner), jetstream.StreamConfig{Name: signals.Stream, Subjects: []string{"dixie.>"}})
	p := open(t, fmt.Sprintf("nats://u:p@%s", nats.Addr()))
	p.Interaction(t.Context(), turn("s-1"))
	closeWell(t, p)
	if got := sessions(t, owner); !cmp.Equal(got, []string{"s-1"}) {
		t.Errorf("stored %v", got)
	}
}

// TestStreamWithoutAcknowledgements must not hold up what another stream would acknowledge.
func TestStreamWithoutAcknowledgements(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	js := admin(t, nats.ClientURL())
	foreign(t, js, jetstream.StreamConfig{Name: signals.Stream, Subjects: []string{"dixie.signal.>"}, NoAck: true})
	foreign(t, js, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"dixie.fleet.>"}})
	p := open(t, nats.ClientURL(), func(cfg *signals.Config) { cfg.AckWait = 50 * time.Millisecond })
	ready(t, p)
	p.Interaction(t.Context(), turn("s-1"))
	p.OfferFleet(t.Context(), spawned())
	closeWell(t, p)
	if got, want := p.Stats(), (signals.Stats{Offered: 2, Published: 1, Failed: 1}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	// It was stored all the same, and once.
	if got := sessions(t, nats.ClientURL()); !cmp.Equal(got, []string{"s-1"}) {
		t.Errorf("stored %v", got)
	}
}
